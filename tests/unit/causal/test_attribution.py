"""Attribution patching: first order of the exact grid, and never without how far it is from it."""

import json
from typing import Any

import numpy as np
import pytest
import transformers
from scipy import stats

import layerwise as lw
from benchmarks.tiny import always_streamed, byte_tokenizer, tiny_config, tiny_model
from layerwise.capture.site_gradients import site_gradients
from layerwise.capture.site_values import resolve_sites
from layerwise.causal import attribution, draws
from layerwise.causal.approximation import Approximation
from layerwise.causal.attribution import attributed, gradient_of_effect
from layerwise.causal.grid import SubjectNoise
from layerwise.causal.outcomes import run_cells
from layerwise.causal.patching import patch
from layerwise.causal.planning import GridPlan
from layerwise.causal.sources import last_site, values_at
from layerwise.errors import EditError, PromptError
from layerwise.sites import KINDS, PER_HEAD
from layerwise.types import Token

BASE, SOURCE = (5, 9, 31, 44, 8, 61), (5, 9, 71, 13, 8, 61)
ANSWER, AGAINST = (30,), (41,)
ASKED = (BASE, SOURCE, ANSWER, AGAINST)
PATCHED = [kind for kind in KINDS if kind != "pattern"]

CONFIGS = {
    "Qwen3Config": {},  # two queries to a key
    "Gemma3TextConfig": {},  # norms after both parts
    "GraniteConfig": {"residual_multiplier": 0.22},
    "FalconConfig": {"alibi": False},  # adds in place
    "GPTNeoXConfig": {},  # queries, keys and values from one matrix; attention beside the MLP
    "Qwen3MoeConfig": {},
    "OPTConfig": {"activation_function": "gelu"},  # the kinks of its own one are in every step
}


@pytest.mark.parametrize("config", CONFIGS)
def test_of_a_patch_that_goes_a_small_step_the_approximation_is_all(config):
    """Each cell is run with values a little towards the source's, and a little away from it."""
    hf = tiny_model(tiny_config(getattr(transformers, config), **CONFIGS[config]))
    step = 3e-3
    with lw.load(hf, tokenizer=byte_tokenizer()).computing() as model:
        kinds = [kind for kind in PATCHED if any(kind in model.anatomy.kinds(i) for i in range(model.n_layers))]
        assert len(kinds) > 6
        sites = {kind: resolve_sites(model, kind) for kind in kinds}
        every = [site for each in sites.values() for site in each]
        own, source = (values_at(model, ids, (), every) for ids in (BASE, SOURCE))
        answers = Token(*ANSWER, ""), Token(*AGAINST, "")
        found = site_gradients(
            model, BASE, every, lambda last: gradient_of_effect(model.output_head, last, *ANSWER, *AGAINST)
        )
        pairs = [(at, at) for at in range(len(BASE))]
        for kind in kinds:
            plan = GridPlan.of(kind, sites[kind], own, pairs, shared=2)
            approximate = attributed(plan, found, own, source)
            moved = [{name: own[name] + by * (source[name] - own[name]) for name in own} for by in (step, -step)]
            cells = [plan.cell(place, values) for values in moved for place in plan.places]
            read = run_cells(model, BASE, cells, source[last_site(model)][-1], answers, only_effect=True)
            up, down = np.split(read.of_cells["logit_difference"], 2)
            exact = plan.filled((up - down) / (2 * step), 0)
            assert np.abs(exact).max() > 0.1
            assert np.allclose(approximate, exact, rtol=0.02, atol=0.02 * np.abs(exact).max()), kind
            assert approximate.shape[1] == (own[str(sites[kind][0])].shape[1] if kind in PER_HEAD else len(BASE))


@pytest.mark.parametrize("direction", ["denoise", "noise"])
@pytest.mark.parametrize("against", [AGAINST, None])
@pytest.mark.parametrize("family", ["qwen3", "gemma2"])
def test_a_prompt_patched_with_nearly_itself_is_approximated_well(load_family, family, direction, against, monkeypatch):
    monkeypatch.setattr(draws, "SURELY", 1e-5)  # so little is there to recover
    model = load_family(family)
    clean = tuple(model.tokenizer("The capital of Germany is")["input_ids"])
    noise = SubjectNoise("Germany", deviations=0.005, draws=2)
    asked = (model, clean, noise, ANSWER, against)
    kinds = ["resid_pre", "attn_out", "mlp_post", "k", "v", "z"]
    exact = patch(*asked, kinds=kinds, direction=direction)
    found = patch(*asked, kinds=kinds, direction=direction, approximate=True)
    assert found.unpatched.answer_logprob == pytest.approx(exact.unpatched.answer_logprob, abs=1e-4)
    for kind in kinds:
        grid = found.grid(kind)
        assert [*grid.values] == [found.effect], "of ranks and distances nothing is known"
        moved, expected = (
            each.grid(kind).values[found.effect] - getattr(each.unpatched, found.effect) for each in (found, exact)
        )
        assert np.abs(expected).max() > 1e-4
        assert np.allclose(moved, expected, atol=0.2 * np.abs(expected).max()), kind
        assert grid.spread is not None
        assert grid.approximation is not None
        assert grid.approximation.correlation > 0.98


@pytest.fixture(scope="module")
def both(tiny):
    kinds = ["resid_pre", "z"]
    return (
        patch(tiny, *ASKED, kinds=kinds),
        patch(tiny, *ASKED, kinds=kinds, approximate=True, exact_cells=8),
    )


@pytest.mark.parametrize("kind", ["resid_pre", "z"])
def test_exact_cells_are_those_of_the_exact_grid_and_figures_compare_them(both, kind):
    whole, grid = both[0].grid(kind), both[1].grid(kind)
    found = grid.approximation
    assert found is not None
    assert len({*found.cells}) == 8
    assert found.of == 16  # four blocks, at the four positions from which on something differs; or four heads
    at = tuple(np.array(found.cells).T)
    assert np.allclose(found.exact, whole.recovery[at], atol=1e-3)
    assert np.array_equal(found.approximate, grid.recovery[at])
    largest = np.sort(np.abs(grid.recovery), axis=None)[-4:]
    assert np.allclose(np.sort(np.abs(found.approximate[:4])), largest), "half are those where most happens"
    assert found.stands_for.tolist() == [1] * 4 + [3] * 4, "the others stand for twelve"
    assert {row for row, _ in found.cells[4:]} == {
        row for row in range(4) if len([each for each in found.cells[:4] if each[0] == row]) < 4
    }, "one of each block, as far as there are any left"
    times = found.stands_for.astype(int)
    mine, exact = (np.repeat(each, times) for each in (found.approximate, whole.recovery[at]))
    assert found.correlation == pytest.approx(stats.pearsonr(mine, exact)[0], abs=1e-3)
    assert found.rank_correlation == pytest.approx(stats.spearmanr(mine, exact)[0], abs=1e-6)
    assert found.mean_error == pytest.approx(np.abs(mine - exact).mean(), abs=1e-3)
    some = np.abs(exact) >= 0.01
    assert found.same_sign == pytest.approx((np.sign(mine) == np.sign(exact))[some].mean())


def test_where_all_cells_are_run_each_stands_for_itself(tiny, both):
    found = patch(tiny, *ASKED, approximate=True, exact_cells=100).grid("resid_pre").approximation
    assert found is not None
    assert len(found.cells) == found.of == 16
    whole = both[0].grid("resid_pre").recovery[:, 2:].ravel()
    mine = both[1].grid("resid_pre").recovery[:, 2:].ravel()
    assert found.correlation == pytest.approx(stats.pearsonr(mine, whole)[0], abs=1e-3)
    assert found.mean_error == pytest.approx(np.abs(mine - whole).mean(), abs=1e-3)


def of(approximate, exact):
    cells = tuple((row, 0) for row in range(len(exact)))
    return Approximation(cells, len(exact), np.ones(len(exact)), np.array(approximate), np.array(exact))


def test_an_approximation_that_is_bad_is_said_to_be():
    exact = np.linspace(-0.2, 1, 12)
    assert of(exact + 0.01, exact).doubts == ()
    assert "correlation with exact cells -1.00" in of(-exact, exact).doubts[0]
    assert "mean error 0.100" in of(exact + 0.1, exact).doubts[0]
    flat = of(np.zeros(8), np.full(8, 0.001))
    assert np.isnan(flat.correlation) and np.isnan(flat.same_sign)
    assert "correlation unknown" in " ".join(flat.lines)
    assert flat.to_json()["correlation"] is None
    assert flat.doubts == ()


def test_a_large_patch_of_the_stream_is_approximated_badly_and_a_note_says_so(both):
    found = both[1]
    doubted = {note.split(":")[0] for note in found.notes}
    for grid in found.grids:
        approximation = grid.approximation
        assert approximation is not None
        assert (grid.kind in doubted) == (approximation.correlation < 0.9 or approximation.mean_error > 0.05)
    assert "resid_pre" in doubted
    assert "Run the exact grid" in found.notes[0]


def test_what_is_stored_and_shown_says_that_it_is_approximate(both, tmp_path):
    exact, found = both
    stored = json.loads(found.dumps())["grids"][1]["approximation"]
    assert stored["method"] == "attribution patching"
    assert stored["mean_error"] == found.grid("z").approximation.mean_error
    assert json.loads(exact.dumps())["grids"][1]["approximation"] is None
    frame = found.to_frame().query("kind == 'z'")
    assert frame["approximate"].all()
    assert frame["exact_recovery"].notna().sum() == 8
    assert (frame["correlation"] == found.grid("z").approximation.correlation).all()
    assert "approximate" not in exact.to_frame()
    title = found.plot("z").to_dict()["title"]
    assert title["text"].endswith("z, denoise, approximate")
    assert "correlation" in " ".join(title["subtitle"])
    assert "approximate" not in exact.plot("z").to_dict()["title"]["text"]


def test_a_streamed_model_s_approximation_is_the_resident_one_s(family_folder, load_family):
    with always_streamed():
        streamed = lw.load(family_folder("gemma2"), device="cpu")
    kinds = ["resid_pre", "k", "mlp_out"]
    grids = [patch(model, *ASKED[:3], kinds=kinds, approximate=True) for model in (load_family("gemma2"), streamed)]
    for kind in kinds:
        assert np.allclose(grids[0].grid(kind).recovery, grids[1].grid(kind).recovery, atol=1e-2)


def test_which_cells_are_run_goes_by_the_seed(tiny):
    grids = [patch(tiny, *ASKED, kinds="z", approximate=True, exact_cells=8, seed=seed).grids[0] for seed in (0, 0, 1)]
    cells = [grid.approximation.cells for grid in grids if grid.approximation]
    assert cells[0] == cells[1] != cells[2]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"window": 3}, "one block at a time; got a window of 3"),
        ({"placebo": True}, "Attribution patching has no placebo"),
        ({"exact_cells": 3}, "At least 8 cells of each kind are run exactly.*got 3"),
    ],
)
def test_what_no_gradient_tells_is_refused(tiny, changed, said):
    with pytest.raises(EditError, match=said):
        patch(tiny, *ASKED, approximate=True, **changed)


def test_runs_that_say_the_same_judge_no_approximation(tiny, monkeypatch):
    monkeypatch.setattr(draws, "SURELY", 1e9)
    with pytest.raises(PromptError, match="nothing tells how good an approximation is"):
        patch(tiny, *ASKED, approximate=True)


def test_gradients_are_taken_once_where_noise_is_put_into_the_same_run(tiny, monkeypatch):
    taken = []
    monkeypatch.setattr(
        attribution,
        "site_gradients",
        lambda *asked, **how: (taken.append(how["embedded"]), site_gradients(*asked, **how))[1],
    )
    clean = tuple(tiny.tokenizer("The capital of Germany is")["input_ids"])
    noise = SubjectNoise("Germany", draws=3)
    told: Any = {"progress": lambda *_: None}
    patch(tiny, clean, noise, ANSWER, AGAINST, direction="noise", approximate=True, **told)
    assert len(taken) == 1
    patch(tiny, clean, noise, ANSWER, AGAINST, direction="denoise", approximate=True, **told)
    assert len({*taken}) == 1 + 3
