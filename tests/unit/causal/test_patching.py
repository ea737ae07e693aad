"""Patch grids: each cell is the same edit alone, and the laws that hold whatever the model."""

import json

import numpy as np
import pytest
import torch

from layerwise.causal import draws, outcomes, sources
from layerwise.causal.grid import SubjectNoise
from layerwise.causal.patching import patch
from layerwise.errors import EditError, LayerwiseError, PromptError
from layerwise.interventions.specs import Patch

CLEAN, CORRUPTED = "The capital of Germany is", "The capital of France is"
ANSWER, AGAINST = " Berlin", " Paris"


@pytest.fixture(scope="module")
def prompts(tiny):
    """Two prompts of one length that differ in two tokens, with the ids of two answers."""
    clean = tiny.tokenizer(CLEAN)["input_ids"]
    other = [*clean]
    other[2], other[3] = other[2] + 7, other[3] + 5
    return tuple(clean), tuple(other), (30,), (41,)


def effect(trace, answer, against):
    logprobs = dict(zip(trace.top_ids[-1, -1].tolist(), trace.top_logprobs[-1, -1].tolist(), strict=True))
    return logprobs[answer[0]] - logprobs[against[0]]


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("kind", ["resid_pre", "resid_post", "attn_out", "mlp_out"])
def test_a_cell_is_the_same_edit_alone(tiny, prompts, direction, kind):
    clean, other, answer, against = prompts
    found = patch(tiny, clean, other, answer, against, kinds=kind, direction=direction)
    grid = found.grid(kind)
    base, source = (other, clean) if direction == "denoise" else (clean, other)
    assert grid.values["logit_difference"].shape == (tiny.n_layers, len(clean))
    text = tiny.tokenizer.decode(source)
    assert tuple(tiny.tokenizer(text)["input_ids"]) == source, "the edit names the source by its text"
    whole = {"positions": "last", "top_k": tiny.info.vocab_size}
    for (row, column), value in np.ndenumerate(grid.values["logit_difference"]):
        site = f"blocks.{grid.blocks[row]}.hook_{kind}"
        alone = tiny.trace(base, edits=Patch(site, str(grid.columns[column]), source=text), **whole)
        assert value == pytest.approx(effect(alone, answer, against), abs=1e-3)
    assert found.unpatched.logit_difference == pytest.approx(
        effect(tiny.trace(base, **whole), answer, against), abs=1e-3
    )
    assert found.source.logit_difference == pytest.approx(
        effect(tiny.trace(source, **whole), answer, against), abs=1e-3
    )


def test_a_head_s_cell_is_the_same_edit_alone(tiny, prompts):
    clean, other, answer, against = prompts
    grid = patch(tiny, clean, other, answer, against, kinds="z").grid("z")
    assert grid.of_heads
    assert len(grid.columns) == tiny.hf.config.num_attention_heads
    text = tiny.tokenizer.decode(clean)
    for (row, head), value in np.ndenumerate(grid.values["logit_difference"]):
        edit = Patch(f"blocks.{row}.attn.hook_z[{head}]", source=text)
        alone = tiny.trace(other, edits=edit, top_k=tiny.info.vocab_size)
        assert value == pytest.approx(effect(alone, answer, against), abs=1e-3)


def test_recovery_is_from_0_without_a_patch_to_1_with_everything(tiny, prompts):
    clean, other, answer, against = prompts
    found = patch(tiny, clean, other, answer, against, kinds=["resid_pre", "resid_post"])
    before, after = found.grid("resid_pre"), found.grid("resid_post")
    assert (before.recovery[:, :2] == 0).all(), "what both prompts have in common is the same at every layer"
    assert after.recovery[-1] == pytest.approx([0, 0, 0, 0, 1], abs=1e-3), "the last layer's last position is the run"
    assert after.values["kl_from_source_bits"][-1, -1] == pytest.approx(0, abs=1e-3)
    assert before.values["kl_from_unpatched_bits"][:, :2] == pytest.approx(0, abs=1e-4)
    assert np.allclose(before.recovery[1:], after.recovery[:-1], atol=1e-3), "block k's input is block k - 1's output"


def test_a_window_patches_blocks_together(tiny, prompts):
    clean, other, answer, against = prompts
    three = patch(tiny, clean, other, answer, against, kinds="mlp_out", window=3).grid("mlp_out")
    text = tiny.tokenizer.decode(clean)
    edits = [Patch(f"blocks.{block}.hook_mlp_out", "3", source=text) for block in (1, 2, 3)]
    together = tiny.trace(other, edits=edits, top_k=tiny.info.vocab_size)
    assert three.values["logit_difference"][2, 3] == pytest.approx(effect(together, answer, against), abs=1e-3)


def test_how_many_run_together_changes_nothing_but_rounding(tiny, prompts, monkeypatch):
    clean, other, answer, against = prompts
    kinds = ["resid_pre", "z"]
    whole = patch(tiny, clean, other, answer, against, kinds=kinds)
    monkeypatch.setattr(outcomes, "_CELLS_BYTES", 3 * len(clean) * tiny.info.d_model * 4)
    monkeypatch.setattr(outcomes, "_ROWS_READ", 5)
    parts = patch(tiny, clean, other, answer, against, kinds=kinds)
    for kind in kinds:
        for name, values in whole.grid(kind).values.items():
            assert np.allclose(values, parts.grid(kind).values[name], atol=1e-3), name


@pytest.mark.parametrize("family", ["qwen3", "gemma2"])
def test_the_effect_alone_is_what_it_is_among_all_measures(load_family, family):
    model = load_family(family)  # Gemma 2's logits are capped
    asked = (model, (5, 9, 31, 44, 8), (5, 9, 71, 13, 8), (30,), (41,))
    whole, alone = (patch(*asked, kinds=["resid_pre", "z"], only_effect=only) for only in (False, True))
    assert alone.unpatched == whole.unpatched
    for kind in ("resid_pre", "z"):
        assert [*alone.grid(kind).values] == ["logit_difference"]
        assert np.allclose(alone.grid(kind).recovery, whole.grid(kind).recovery, atol=1e-3)


def test_noise_corrupts_the_subject_and_the_clean_state_brings_the_answer_back(tiny, prompts):
    clean, _, answer, against = prompts
    noise = SubjectNoise(tiny.tokenizer.decode(clean[2:4]).strip(), draws=3)
    found = patch(tiny, clean, noise, answer, against, kinds=["resid_pre", "resid_post"])
    grid = found.grid("resid_post")
    assert grid.recovery[-1, -1] == pytest.approx(1, abs=1e-3)
    assert (found.grid("resid_pre").recovery[:, :2] == 0).all()
    assert grid.spread is not None
    assert grid.spread[-1, -1] == pytest.approx(0, abs=1e-3)
    assert found.unpatched.logit_difference != pytest.approx(found.source.logit_difference, abs=1e-2)
    again = patch(tiny, clean, noise, answer, against, kinds="resid_post").grid("resid_post")
    assert np.allclose(again.recovery, grid.recovery, atol=1e-3)


def test_noise_goes_the_other_way_too(tiny, prompts):
    clean, _, answer, against = prompts
    noise = SubjectNoise(tiny.tokenizer.decode(clean[2:4]).strip(), draws=2)
    found = patch(tiny, clean, noise, answer, against, kinds="resid_post", direction="noise")
    assert found.grid("resid_post").recovery[-1, -1] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_the_run_that_noise_leaves_as_it_is_is_run_once_for_all_draws(tiny, prompts, monkeypatch, direction):
    clean, _, answer, against = prompts
    ran = []
    run = sources.values_at
    monkeypatch.setattr(
        sources, "values_at", lambda model, ids, edits, sites: (ran.append(edits), run(model, ids, edits, sites))[1]
    )
    noise = SubjectNoise(tiny.tokenizer.decode(clean[2:4]).strip(), draws=3)
    patch(tiny, clean, noise, answer, against, placebo=True, direction=direction)
    assert len(ran) == len({*ran}) == 1 + 3


def test_a_placebo_moves_as_far_as_the_patch_in_a_direction_of_its_own(tiny, prompts):
    clean, other, answer, against = prompts
    kinds = ["resid_post", "z"]
    found = patch(tiny, clean, other, answer, against, kinds=kinds, placebo=True)
    plain = patch(tiny, clean, other, answer, against, kinds=kinds)
    for kind in kinds:
        grid, placebo = found.grid(kind), found.grid(kind).placebo
        assert placebo is not None
        assert np.allclose(grid.recovery, plain.grid(kind).recovery, atol=1e-3), "the patch itself is as without one"
        assert not np.allclose(placebo, grid.recovery, atol=1e-2)
        assert kind == "z" or (placebo[:, :2] == 0).all()
        again = patch(tiny, clean, other, answer, against, kinds=kinds, placebo=True, seed=1).grid(kind).placebo
        assert again is not None
        assert not np.allclose(again, placebo, atol=1e-3)
    base = {"a": torch.randn(3, 8), "b": torch.randn(3, 2, 8)}
    source = {"a": torch.randn(4, 8), "b": torch.randn(4, 2, 8)}
    moved = sources.moved_at_random(base, source, [(0, 1), (2, 3)], 0)
    for name in ("a", "b"):
        far = (moved[name][[1, 3]] - base[name][[0, 2]]).norm(dim=-1)
        assert torch.allclose(far, (source[name][[1, 3]] - base[name][[0, 2]]).norm(dim=-1), rtol=1e-4)


def test_prompts_of_different_length_are_aligned_where_they_differ(tiny):
    ids = tuple(tiny.tokenizer(CLEAN)["input_ids"])
    longer = (*ids[:2], 77, 88, *ids[3:])
    found = patch(tiny, ids, longer, (30,), (41,))
    assert found.alignment.shared == 2
    assert found.alignment.pairs == ((0, 0), (1, 1), (2, 3), (3, 4), (4, 5))
    assert found.grid("resid_pre").columns == (0, 1, 3, 4, 5)


def test_without_another_answer_the_effect_is_the_answer_s_log_probability(tiny, prompts):
    clean, other, answer, _ = prompts
    found = patch(tiny, clean, other, answer)
    assert found.effect == "answer_logprob"
    assert np.isnan(found.grid("resid_pre").values["logit_difference"]).all()
    assert np.isfinite(found.grid("resid_pre").recovery).all()


def test_a_streamed_model_s_grid_is_the_resident_one_s(family_folder, load_family):
    import layerwise as lw
    from benchmarks.tiny import always_streamed

    with always_streamed():
        streamed = lw.load(family_folder("qwen3"), device="cpu")
    grids = [
        patch(model, (5, 9, 31, 44, 8), (5, 9, 71, 13, 8), (30,), (41,), kinds=["resid_pre", "z"])
        for model in (load_family("qwen3"), streamed)
    ]
    for kind in ("resid_pre", "z"):
        assert np.allclose(grids[0].grid(kind).recovery, grids[1].grid(kind).recovery, atol=1e-2)


def test_what_is_stored_is_json_and_what_is_shown_is_a_frame(tiny, prompts, tmp_path):
    clean, other, answer, _ = prompts
    found = patch(tiny, clean, other, answer, kinds=["resid_pre", "z"])
    found.save(tmp_path / "grids.json")
    stored = json.loads((tmp_path / "grids.json").read_text())
    assert stored == json.loads(json.dumps(found.to_json()))
    assert stored["grids"][0]["values"]["logit_difference"][0][0] is None
    frame = found.to_frame()
    assert len(frame) == found.grids[0].recovery.size + found.grids[1].recovery.size
    assert {"position", "token", "head", "recovery", "answer_rank"} <= {*frame.columns}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"corrupted": CLEAN}, "Both prompts have the same tokens"),
        ({"answer": AGAINST}, "No token tells the answer"),
        ({"corrupted": "Paris"}, "differ in length, and at the end"),
        ({"spans": {"subject": ("Germany", "Spain")}}, "'Spain', the span 'subject', stands nowhere"),
        ({"spans": {"subject": ("a", "France")}}, "times in the prompt"),
        ({"kinds": "pattern"}, "no kind of site that can be patched in a grid"),
        ({"kinds": "hidden"}, "'hidden' is no kind"),
        ({"direction": "up"}, "denoise or noise; got 'up'"),
        ({"window": 0}, "at least one block; got 0"),
        ({"corrupted": SubjectNoise("Spain")}, "stands nowhere"),
    ],
)
def test_what_cannot_be_patched_is_refused(tiny, changed, said):
    asked = {"clean": CLEAN, "corrupted": CORRUPTED, "answer": ANSWER, "against": AGAINST, **changed}
    with pytest.raises(LayerwiseError, match=said):
        patch(tiny, **asked)


def test_runs_that_say_the_same_have_nothing_to_recover(tiny, prompts, monkeypatch):
    clean, other, answer, against = prompts
    monkeypatch.setattr(draws, "SURELY", 1e9)
    found = patch(tiny, clean, other, answer, against)
    assert np.isnan(found.grid("resid_pre").recovery).all()
    assert "nothing to recover" in found.notes[0]
    with pytest.raises(PromptError, match="was not patched; there are resid_pre"):
        found.grid("z")


@pytest.mark.parametrize("how", [{"draws": 0}, {"deviations": -1}, {"deviations": float("nan")}])
def test_noise_that_is_none_is_refused(how):
    with pytest.raises(EditError, match="a deviation above 0 and at least one draw"):
        SubjectNoise("Germany", **how)
