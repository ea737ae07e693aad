"""Edits as data: what is written is read again, and what is no edit is refused."""

import json

import pytest

from layerwise.errors import EditError
from layerwise.interventions.specs import Cut, Patch, Scale, Zero, parse, site_of, spec_from
from layerwise.sites import Site

WRITTEN = {
    "zero mlp_out": Zero("mlp_out"),
    "zero blocks.3.attn.hook_z[5]@-1": Zero("blocks.3.attn.hook_z[5]", "-1"),
    "zero layer 12@0,3:5": Zero("layer 12", "0,3:5"),
    "scale 'layer 12@last' factor=0.5": Scale("layer 12", "last", 0.5),
    "patch blocks.2.hook_resid_post@3 source='The capital of France is' at=-2": Patch(
        "blocks.2.hook_resid_post", "3", "The capital of France is", "-2"
    ),
    "cut pattern@last keys=1:3": Cut("pattern", "last", "1:3"),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_an_edit_is_read_as_it_is_written_and_written_as_it_is_read(text):
    assert parse(text) == WRITTEN[text]
    assert parse(str(WRITTEN[text])) == WRITTEN[text]
    assert spec_from(json.loads(json.dumps(WRITTEN[text].described()))) == WRITTEN[text]


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
        ("double mlp_out", "There is no edit called 'double'; there are zero, scale, patch, cut"),
        ("zero hidden", "'hidden' names no site"),
        ("zero blocks.3.hook_mlp_out[2]", "mlp_out has no heads"),
        ("zero layer x", "names no site"),
        ("scale mlp_out 3", "'3' sets nothing; expected NAME=VALUE"),
        ("scale mlp_out times=3", "scale has no 'times'; it has site, positions, factor"),
        ("scale mlp_out factor=much", "factor should be a number; got 'much'"),
        ("patch mlp_out", "takes its values from another prompt: add source="),
        ("cut mlp_out keys=3", "expected a pattern as the site, got mlp_out"),
    ],
)
def test_what_is_no_edit_is_refused_with_what_there_is(text, said):
    with pytest.raises(EditError, match=said):
        parse(text)


@pytest.mark.parametrize(
    "described", [{}, {"operation": ["zero"]}, {"operation": "zero"}, {"operation": "zero", "site": 3}]
)
def test_a_damaged_description_is_refused(described):
    with pytest.raises(EditError):
        spec_from(described)
