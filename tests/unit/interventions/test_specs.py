"""Edits as data: what is written is read again, and what is no edit is refused."""

import pytest

from layerwise.errors import EditError
from layerwise.interventions.specs import Cut, Mean, Noise, Patch, Resample, Scale, Zero, site_of
from layerwise.interventions.written import parse
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
}


@pytest.mark.parametrize("text", WRITTEN)
def test_an_edit_is_read_as_it_is_written_and_written_as_it_is_read(text):
    assert parse(text) == WRITTEN[text]
    assert parse(str(WRITTEN[text])) == WRITTEN[text]


def test_prompts_keep_every_character():
    source = 'It\'s "Berlin" — \n = @ | $HOME `x` \\ 3'
    spec = Patch("layer 1", source=source)
    assert parse(str(spec)) == spec


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
        ("zero blocks.3.hook_mlp_out[2]", "mlp_out has no heads"),
        ("zero layer x", "names no site"),
        ("scale mlp_out 3", "'3' sets nothing; expected NAME=VALUE"),
        ("scale mlp_out times=3", "scale has no 'times'; it has factor"),
        ("scale mlp_out factor=much", "factor should be a number; got 'much'"),
        ("scale mlp_out factor=inf", "factor should be a number; got 'inf'"),
        ("zero mlp_out factor=2", "zero has no 'factor'; it has no values"),
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
