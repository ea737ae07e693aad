"""Edits as data: what is written is read again, and what is no edit is refused."""

import numpy as np
import pytest

from layerwise.errors import EditError
from layerwise.interventions.along import Add, Exchange, ProjectOut, numbers_of, vector_text
from layerwise.interventions.specs import Cut, Mean, Noise, Patch, Resample, Scale, Zero, site_of
from layerwise.interventions.written import parse, shown
from layerwise.sites import Site

WRITTEN = {
    "zero mlp_out": Zero("mlp_out"),
    "zero blocks.3.attn.hook_z[5]@-1": Zero("blocks.3.attn.hook_z[5]", "-1"),
    "zero layer 12@0,3:5": Zero("layer 12", "0,3:5"),
    "scale 'layer 12@last' factor=0.5": Scale("layer 12", "last", 0.5),
    "patch blocks.2.hook_resid_post@3 source='The capital of France is' at=-2": Patch(
        "blocks.2.hook_resid_post", "3", "The capital of France is", "-2"
    ),
    "patch 'layer 12@last' of='layer 3'": Patch("layer 12", "last", of="layer 3"),
    "mean mlp_out@1: over='The sky' over='One | two'": Mean("mlp_out", "1:", ("The sky", "One | two")),
    "resample blocks.0.hook_attn_out over='The sky' at=2: seed=7": Resample(
        "blocks.0.hook_attn_out", "all", ("The sky",), "2:", 7
    ),
    "noise 'layer 0@1:3' deviation=0.5 seed=2": Noise("layer 0", "1:3", 0.5, 2),
    "cut pattern@last keys=1:3": Cut("pattern", "last", "1:3"),
    "scale 'layer 12@last' factor=0.5 placebo=0": Scale("layer 12", "last", 0.5, placebo=0),
    "patch 'layer 12@3' source='The sky' placebo=7": Patch("layer 12", "3", "The sky", placebo=7),
    "patch 'layer 12@last' of='layer 3' lens=jacobian:mine sum=0a1b": Patch(
        "layer 12", "last", of="layer 3", lens="jacobian:mine", sum="0a1b"
    ),
    "add 'layer 12@last' token=' Paris' strength=-0.5": Add("layer 12", "last", (" Paris",), strength=-0.5),
    "add 'layer 12' toward='I love it' toward=Good away=Bad at=all": Add(
        "layer 12", toward=("I love it", "Good"), away=("Bad",), at="all"
    ),
    "add mlp_out vector=AACAPwAAAMA=": Add("mlp_out", vector=("AACAPwAAAMA=",)),
    "project-out 'layer 3' token=' a' token=' b' lens=tuned": ProjectOut("layer 3", "all", (" a", " b"), "tuned"),
    "exchange 'layer 3@-1' token=' a' token=' b' lens=jacobian": Exchange("layer 3", "-1", (" a", " b"), "jacobian"),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_an_edit_is_read_as_it_is_written_and_written_as_it_is_read(text):
    assert parse(text) == WRITTEN[text]
    assert parse(str(WRITTEN[text])) == WRITTEN[text]


def test_prompts_keep_every_character():
    source = 'It\'s "Berlin" — \n = @ | $HOME `x` \\ 3'
    spec = Patch("layer 1", source=source)
    assert parse(str(spec)) == spec


def test_numbers_are_kept_to_the_last_bit():
    numbers = np.array([1, -2, 1e-30, 3.4e38, 1 / 3], dtype=np.float32)
    assert np.array_equal(numbers_of(vector_text(numbers)), numbers)
    assert numbers_of("AACAPwAAAMA=").tolist() == [1.0, -2.0], "float32 as IEEE 754 has it, little-endian"


def test_one_text_or_an_array_stands_for_several():
    assert Add("layer 3", token=" a") == Add("layer 3", token=(" a",))  # type: ignore[arg-type]
    both = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert ProjectOut("layer 3", vector=both) == ProjectOut("layer 3", vector=tuple(map(vector_text, both)))  # type: ignore[arg-type]
    assert Add("layer 3", vector=both[0]) == Add("layer 3", vector=(vector_text(both[0]),))  # type: ignore[arg-type]


def test_a_layer_is_the_stream_there():
    assert site_of("layer 12") == Site(11, "resid_post")
    assert site_of("layer 0") == Site(0, "resid_pre")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no edit. Expected an operation, a site and positions"),
        ("zero", "is no edit"),
        ("zero 'mlp_out", "quotation mark that is not closed"),
        ("double mlp_out", "There is no edit called 'double'; there are zero, scale, patch, mean, "),
        ("zero hidden", "'hidden' names no site"),
        ("cut pattern@-1 placebo=1", "has no placebo"),
        ("scale blocks.3.attn.hook_pattern[1] placebo=1", "has no placebo"),
        ("scale mlp_out placebo=1.5", "placebo should be a whole number; got '1.5'"),
        ("zero blocks.3.hook_mlp_out[2]", "mlp_out has no heads"),
        ("zero layer x", "names no site"),
        ("scale mlp_out 3", "'3' sets nothing; expected NAME=VALUE"),
        ("scale mlp_out times=3", "scale has no 'times'; it has factor"),
        ("scale mlp_out factor=much", "factor should be a number; got 'much'"),
        ("scale mlp_out factor=inf", "factor should be a number; got 'inf'"),
        ("zero mlp_out factor=2", "zero has no 'factor'; it has placebo"),
        ("add 'layer 3'", "given in one way; got none"),
        ("add 'layer 3' token=' a' vector=AACAPwAAAMA=", "one way; got token and vector"),
        ("add 'layer 3' token=' a' toward=x away=y", "one way; got token and toward"),
        ("add 'layer 3' toward=x", "prompts toward=…, and none away=…"),
        ("add 'layer 3' token=' a' token=' b'", "adds one vector; got 2"),
        ("add 'layer 3' token=' a' strength=nan", "strength should be a number"),
        ("add 'layer 3' vector=AAAA", "is no vector"),
        ("add 'layer 3' vector=#", "is no vector"),
        ("add 'layer 3' vector=AADAfw==", "NaN or infinite"),
        ("exchange 'layer 3' token=' a'", "is between two; got 1"),
        ("exchange 'layer 3' toward=a", "exchange has no 'toward'"),
        ("patch mlp_out", "takes its values from another prompt: add source="),
        ("patch mlp_out of='layer 3'", "every mlp_out has no one site"),
        ("patch layer 1 of=somewhere", "'somewhere' names no site"),
        ("mean mlp_out", "mean mlp_out is over other prompts: add over="),
        ("resample mlp_out over=", "resample mlp_out is over other prompts"),
        ("scale mlp_out factor=2 factor=3", "factor was given 2 times"),
        ("noise mlp_out seed=1.5", "seed should be a whole number; got '1.5'"),
        ("cut mlp_out keys=3", "expected a pattern as the site, got mlp_out"),
    ],
)
def test_what_is_no_edit_is_refused_with_what_there_is(text, said):
    with pytest.raises(EditError, match=said):
        parse(text)


def test_for_people_a_vector_s_numbers_are_counted():
    edit = str(Add("layer 3", token=(), vector=(vector_text(np.arange(64)),), strength=2.0))
    assert shown(edit) == "add 'layer 3' vector=(64 numbers) strength=2.0"
    assert shown("zero mlp_out") == "zero mlp_out"
