"""Patch grids in the view's document: their numbers, the causal cone, and the table for where no script may run."""

import json
from dataclasses import replace

import numpy as np
import pytest

import layerwise as lw
from layerwise.causal.grid import Patching, SubjectNoise
from layerwise.errors import PromptError
from layerwise.view.document import document_json, unpacked, view_document
from layerwise.view.patching_part import causal_cone, patching_part
from layerwise.view.shown import show, shown_patching

PARTS = ["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "z"]


@pytest.fixture(scope="module")
def prompts(tiny):
    """Two of one length, of which the third and the fourth differ."""
    clean = tiny.tokenizer("The capital of Germany is")["input_ids"]
    other = [*clean]
    other[2], other[3] = other[2] + 7, other[3] + 5
    return tuple(clean), tuple(other)


@pytest.fixture(scope="module")
def patching(tiny, prompts):
    return lw.patch(tiny, prompts[0], prompts[1], (30,), (41,), kinds=PARTS, placebo=True)


def test_every_number_of_a_grid_is_in_the_document(patching):
    part = json.loads(document_json(view_document([], patchings=[patching_part(patching)])))["patchings"][0]
    assert [text for _, text in part["clean"]] == [token.text for token in patching.clean]
    assert part["alignment"]["pairs"] == [list(pair) for pair in patching.alignment.pairs]
    assert part["unpatched"]["answer_logprob"] == pytest.approx(patching.unpatched.answer_logprob)
    for stored, grid in zip(part["grids"], patching.grids, strict=True):
        assert stored["blocks"] == list(grid.blocks)
        assert stored["heads" if grid.of_heads else "positions"] == list(grid.columns)
        held = {"recovery": grid.recovery, "placebo": grid.placebo, **grid.values}
        assert stored["values"].keys() == held.keys()
        for name, values in held.items():
            np.testing.assert_allclose(unpacked(stored["values"][name]), values, rtol=1e-6)
        assert stored["values"].keys() <= part["described"].keys()


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_outside_of_the_cone_every_cell_is_as_without_a_patch_and_inside_none(tiny, prompts, direction, window):
    """In a model of random weights every path carries something."""
    found = lw.patch(tiny, prompts[0], prompts[1], (30,), (41,), kinds=PARTS, direction=direction, window=window)
    for grid in found.grids:
        cone = causal_cone(found, grid)
        moved = grid.values["kl_from_unpatched_bits"]
        assert np.abs(moved[~cone]).max(initial=0) < 1e-9
        assert (moved[cone] > 1e-9).all(), grid.kind


def test_the_cone_begins_where_the_prompts_differ_and_ends_at_the_last_block(tiny, patching):
    last = len(patching.clean) - 1
    stream = causal_cone(patching, patching.grid("resid_pre"))
    assert not stream[:, :2].any()
    assert stream[0].tolist() == [False, False, True, True, *[False] * (last - 3)]
    assert stream[1:, 2:].all()
    mlp = causal_cone(patching, patching.grid("mlp_out"))
    assert mlp[: tiny.n_layers - 1, 2:].all()
    assert mlp[tiny.n_layers - 1].tolist() == [False] * last + [True]
    assert causal_cone(patching, patching.grid("z")).all()


def test_draws_of_noise_have_a_spread(tiny):
    text = "The capital of Germany is"
    found = lw.patch(tiny, text, SubjectNoise("Germany", draws=2), (30,), kinds="mlp_out")
    part = patching_part(found)
    assert part["noise"]["subject"] == "Germany"
    assert part["unpatched"]["logit_difference"] is None
    assert "spread" in part["grids"][0]["values"]
    assert "logit_difference" not in part["grids"][0]["values"], "no other answer, so no number anywhere"


def test_where_the_model_lies_is_not_told(patching):
    local = replace(patching, model=replace(patching.model, source="folder", name="/home/me/m", location="/home/me/m"))
    assert "/home/me" not in json.dumps(patching_part(local))


def test_grids_show_themselves(patching, tmp_path):
    shown = shown_patching(patching)
    assert shown.document["patchings"] == [patching_part(patching)]
    assert shown.document["title"] == "".join(token.text for token in patching.clean)
    assert shown.text == repr(patching)
    assert len(repr(patching)) < 300
    patching.to_html(tmp_path / "grids.html")
    assert '"patchings":[{' in (tmp_path / "grids.html").read_text("utf-8")
    bundle, _ = patching._repr_mimebundle_()
    assert bundle["text/html"].count("<table") == len(PARTS)


def test_the_table_has_a_row_a_block_and_says_where_nothing_can_change(patching):
    few = replace(patching, grids=(patching.grid("resid_pre"),))
    text = shown_patching(few)._repr_mimebundle_()[0]["text/html"]
    assert text.count("<tr>") == 1 + len(few.grids[0].blocks)
    assert text.count(">–</td>") == int((~causal_cone(few, few.grids[0])).sum())
    assert f">{few.grids[0].recovery[1, 2]:.2f}</td>" in text


def test_a_hostile_token_is_text_in_the_table(patching):
    evil = [replace(token, text="<img src=x onerror=alert(1)>\u202e") for token in patching.corrupted]
    text = shown_patching(replace(patching, corrupted=tuple(evil)))._repr_mimebundle_()[0]["text/html"]
    assert "&lt;img" in text
    assert "<img" not in text
    assert "\u202e" not in text


def test_traces_and_grids_are_one_view(tiny, patching):
    document = show(tiny.trace("The capital of Germany is"), patching, title="Both").document
    assert len(document["traces"]) == len(document["patchings"]) == 1
    assert isinstance(patching, Patching)
    with pytest.raises(PromptError, match=r"traces and patch grids; got str"):
        show("The capital of Germany is")  # pyright: ignore[reportArgumentType]
