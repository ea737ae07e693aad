"""Traces under edits: laws that hold whatever the model, and what cannot be edited is refused."""

import numpy as np
import pytest

from layerwise import Model, Request, Trace
from layerwise.errors import EditError, LayerwiseError
from layerwise.interventions.specs import Patch, Scale
from layerwise.view.recipes import recipes

PROMPT, OTHER = "The capital of Germany is", "The colour of ripe limes is"

NOTHING = [
    "scale mlp_out factor=1",
    "noise 'layer 1' deviation=0",
    f"patch 'layer 2' source='{PROMPT}'",
    f"patch blocks.1.attn.hook_z[1]@1: source='{PROMPT}'",
    f"mean blocks.1.hook_mlp_out@2 over='{PROMPT}' at=2",
    f"resample blocks.1.hook_attn_out@-1 over='{PROMPT}' at=-1",
    "patch 'layer 2@1:' of='layer 2'",
]


@pytest.fixture(scope="module")
def model(tiny):
    return Model(tiny._loaded)


@pytest.fixture(scope="module")
def clean(model):
    return model.trace(PROMPT, positions="all")


def expect_same(found, wanted, layers=slice(None)):
    assert np.allclose(found.residual_norm[layers], wanted.residual_norm[layers], rtol=1e-4)
    assert np.allclose(found.entropy_bits[layers], wanted.entropy_bits[layers], atol=1e-3)


def expect_other(found, wanted, layers=slice(None)):
    assert not np.allclose(found.residual_norm[layers], wanted.residual_norm[layers], rtol=1e-3)


@pytest.mark.parametrize("edit", NOTHING)
def test_what_changes_nothing_changes_nothing(model, clean, edit):
    expect_same(model.trace(PROMPT, positions="all", edits=edit), clean)


def test_layers_before_an_edit_are_as_they_were(model, clean):
    for layer in range(model.n_layers + 1):
        edited = model.trace(PROMPT, positions="all", edits=f"scale 'layer {layer}' factor=1.5")
        expect_same(edited, clean, slice(0, layer))
        assert np.allclose(edited.residual_norm[layer], 1.5 * clean.residual_norm[layer], rtol=1e-4)


def test_positions_before_an_edit_are_as_they_were(model, clean):
    edited = model.trace(PROMPT, positions="all", edits="zero mlp_out@2")
    assert np.allclose(edited.residual_norm[:, :2], clean.residual_norm[:, :2], rtol=1e-4)
    assert not np.isclose(edited.residual_norm[2:, 2:], clean.residual_norm[2:, 2:], rtol=1e-4).any()


def test_a_whole_prompt_that_is_patched_at_layer_0_is_the_other_prompt(model):
    ids = [model.tokenizer(text)["input_ids"] for text in (PROMPT, OTHER)]
    short = min(map(len, ids))
    here, there = (tuple(each[:short]) for each in ids)
    edit = Patch("layer 0", source=model.tokenizer.decode(there))
    assert model.tokenizer(edit.source)["input_ids"] == list(there)
    expect_same(model.trace(here, positions="all", edits=edit), model.trace(there, positions="all"))


def test_values_of_another_prompt_are_those_that_it_has(model):
    edit = f"patch blocks.1.hook_mlp_out@-1 source='{OTHER}' at=2"
    found = model.capture(PROMPT, "blocks.1.hook_mlp_out", edits=edit)["blocks.1.hook_mlp_out"]
    wanted = model.capture(OTHER, "blocks.1.hook_mlp_out", positions=2)["blocks.1.hook_mlp_out"]
    before = model.capture(PROMPT, "blocks.1.hook_mlp_out")["blocks.1.hook_mlp_out"]
    assert np.allclose(found[-1], wanted[0], atol=1e-6)
    assert np.allclose(found[:-1], before[:-1], atol=1e-6)


def test_a_mean_is_that_of_all_positions_of_all_prompts(model):
    edit = f"mean blocks.0.hook_mlp_out over='{PROMPT}' over='{OTHER}'"
    found = model.capture(PROMPT, "blocks.0.hook_mlp_out", edits=edit)["blocks.0.hook_mlp_out"]
    parts = [model.capture(text, "blocks.0.hook_mlp_out", positions="1:") for text in (PROMPT, OTHER)]
    wanted = np.concatenate([part["blocks.0.hook_mlp_out"] for part in parts]).mean(0)
    assert np.allclose(found, wanted, atol=1e-6)


def test_noise_is_the_same_each_time_and_another_at_another_site_or_seed(model):
    def added(site, seed):
        edit = f"noise {site} deviation=2 seed={seed}"
        return model.capture(PROMPT, site, edits=edit)[site] - model.capture(PROMPT, site)[site]

    first, again = added("blocks.0.hook_mlp_out", 0), added("blocks.0.hook_mlp_out", 0)
    assert np.array_equal(first, again)
    assert 1 < first.std() < 3
    assert abs(np.corrcoef(first.ravel(), added("blocks.0.hook_mlp_out", 1).ravel())[0, 1]) < 0.5
    assert abs(np.corrcoef(first.ravel(), added("blocks.1.hook_mlp_out", 0).ravel())[0, 1]) < 0.5


def test_what_a_cut_query_attended_to_goes_to_the_rest(model):
    site = "blocks.1.attn.hook_pattern"
    before, cut = (model.capture(PROMPT, site, edits=edits)[site] for edits in ((), f"cut {site}@-1 keys=1:3"))
    assert np.allclose(cut[:, :-1], before[:, :-1], atol=1e-6)
    assert not cut[:, -1, 1:3].any()
    left = before[:, -1].copy()
    left[:, 1:3] = 0
    assert np.allclose(cut[:, -1], left / left.sum(-1, keepdims=True), atol=1e-6)


def test_a_model_whose_first_trace_cuts_attention_is_checked_as_any_other(tiny, clean):
    """Checks run beside the edited pass, in attention that is computed step by step: with masks made for that."""
    fresh = Model(tiny._loaded)
    edited = fresh.trace(PROMPT, positions="all", edits="cut pattern@-1 keys=1:3")
    assert edited.checks.identity_error == pytest.approx(clean.checks.identity_error, abs=1e-4)
    expect_same(fresh.trace(PROMPT, positions="all"), clean)


def test_cut_attention_is_seen_at_other_sites_too(model):
    edit, site = "cut pattern@-1 keys=1:3", "blocks.1.attn.hook_z"
    alone = model.capture(PROMPT, site, edits=edit)[site]
    beside = model.capture(PROMPT, [site, "blocks.1.attn.hook_pattern"], edits=edit)[site]
    assert np.allclose(alone, beside, atol=1e-5)
    assert not np.allclose(alone, model.capture(PROMPT, site)[site], atol=1e-3)


def test_the_output_is_the_last_layer_s_under_any_edit(model, clean):
    edited = model.trace(PROMPT, edits="zero blocks.1.hook_attn_out")
    expect_other(edited, clean, slice(2, None))
    assert [each.id for each in edited.output] == edited.top_ids[-1, -1].tolist()


def test_what_is_generated_is_generated_under_the_edits(model):
    edit = "scale 'layer 1' factor=-3"
    whole = model.trace(PROMPT, edits=edit, generate=4)
    ids = tuple(token.id for token in whole.tokens)
    for made in whole.generated:
        step = model.trace(ids, edits=edit, top_k=1)
        assert step.output[0].id == made.id
        ids += (made.id,)
    assert [t.id for t in whole.generated] != [t.id for t in model.trace(PROMPT, generate=4).generated]


def test_prompts_with_edits_and_without_do_not_touch_each_other(model, clean):
    edit = "zero mlp_out"
    requests = [Request(PROMPT, positions="all"), Request(PROMPT, positions="all", edits=(edit,)), Request(OTHER)]
    [[plain], [edited], [other]] = model.trace_all(requests)
    expect_same(plain, clean)
    expect_same(edited, model.trace(PROMPT, positions="all", edits=edit))
    expect_same(other, model.trace(OTHER))


def test_several_edits_are_made_together(model):
    edits = [Scale("blocks.0.attn.hook_z[0]", factor=0.0), Scale("blocks.0.attn.hook_z[1]", factor=0.0)]
    both = model.trace(PROMPT, positions="all", edits=edits)
    expect_same(model.trace(PROMPT, positions="all", edits=edits[::-1]), both)
    expect_other(model.trace(PROMPT, positions="all", edits=edits[0]), both, slice(1, None))


def test_a_stored_trace_tells_its_edits_and_how_to_make_it_again(model, tmp_path):
    edit = Patch("layer 1", "-1", source=OTHER, at="-1")
    trace = model.trace(PROMPT, edits=[edit])
    trace.save(tmp_path / "trace.json")
    opened = Trace.open(tmp_path / "trace.json")
    assert opened == trace
    assert opened.edits == (str(edit),)
    assert str(edit) in repr(opened)
    python = recipes(opened)["python"]
    assert python is not None
    names = {}
    exec(python.replace(python.splitlines()[2], ""), {"model": model}, names)
    assert names["trace"].edits == trace.edits
    expect_same(names["trace"], trace)


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ("zero blocks.99.hook_mlp_out", "99"),
        ("zero layer 99", "99|98"),
        ("zero blocks.0.attn.hook_z[77]", "There is no blocks.0.attn.hook_z.77."),
        ("zero mlp_out@40", "names none of this prompt's"),
        ("cut pattern keys=40", "names none of this prompt's"),
        (f"patch layer 1@1:3 source='{OTHER}' at=1:4", "changes 2 positions .* and takes values of 3"),
        ("patch layer 1 source='x'", "its source has . tokens"),
        ("patch layer 1 source=' '", "token"),
        (["zero mlp_out", "scale blocks.1.hook_mlp_out@2 factor=2"], "Two edits change blocks.1.hook_mlp_out at pos"),
        (["zero blocks.1.hook_resid_pre", "zero layer 1"], "Two edits change blocks.0.hook_resid_post"),
        (["zero blocks.1.attn.hook_z", "zero blocks.1.attn.hook_z[0]"], "Two edits change"),
        (f"mean pattern over='{OTHER}'", "Cut edges instead"),
        ("patch layer 1 of=blocks.0.mlp.hook_post", "has values of shape"),
        ("nothing", "is no edit"),
    ],
)
def test_what_cannot_be_edited_is_refused(model, edits, said):
    with pytest.raises(LayerwiseError, match=said):
        model.trace(PROMPT, edits=edits)


def test_a_question_whose_edits_do_not_fit_is_refused_before_it_runs(model):
    assert "names none" in (model.refusal(Request(PROMPT, edits=("zero mlp_out@40",))) or "")
    with pytest.raises(EditError):
        Request(PROMPT, edits=("zero",))


def test_a_placebo_moves_the_stream_as_far_as_the_edit_and_says_something_else(model):
    edit = f"patch 'layer 2@3' source='{OTHER}'"
    states = [
        model.capture(PROMPT, sites=["blocks.1.hook_resid_post"], edits=edits)["blocks.1.hook_resid_post"]
        for edits in ((), edit, f"{edit} placebo=1", f"{edit} placebo=2")
    ]
    moved = [state - states[0] for state in states[1:]]
    sizes = [np.linalg.norm(each[3]) for each in moved]
    assert sizes[0] > 0
    assert np.allclose(sizes, sizes[0], rtol=1e-4)
    assert all(np.allclose(np.delete(each, 3, axis=0), 0, atol=1e-6) for each in moved)
    assert not np.allclose(moved[1], moved[2], atol=1e-3 * sizes[0])
    assert not np.allclose(moved[0], moved[1], atol=1e-3 * sizes[0])


def test_the_placebo_of_a_head_moves_that_head_alone(model):
    site = "blocks.1.attn.hook_z"
    edit = f"patch {site}[1] source='{PROMPT}!' at=-1"
    before, patched, placebo = (
        model.capture(PROMPT, sites=[site], edits=edits)[site] for edits in ((), edit, f"{edit} placebo=0")
    )
    assert np.allclose(np.delete(placebo - before, 1, axis=1), 0, atol=1e-6)
    assert np.allclose(
        np.linalg.norm((placebo - before)[:, 1], axis=-1), np.linalg.norm((patched - before)[:, 1], axis=-1), rtol=1e-4
    )


def test_the_placebo_of_no_change_is_no_change(model, clean):
    expect_same(model.trace(PROMPT, positions="all", edits="scale mlp_out factor=1 placebo=3"), clean)
