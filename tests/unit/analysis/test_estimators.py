"""What claims are about, against numbers worked out by hand."""

import math

import numpy as np
import pytest

from layerwise.analysis.estimators import ESTIMATORS, UNITS, NotEstimableError, definition
from layerwise.measures.calibration import folds
from layerwise.studies.claim_files import Estimator

ITEMS = ["i00", "i01", "i02", "i03", "i04", "i05"]


def sample(name, cases, directions=(), **others):
    return ESTIMATORS[name]({cases.lens: cases, **others}, directions)


def by_item(found):
    return dict(zip(found.values.items, found.values.values.tolist(), strict=True))


def test_each_estimator_that_a_claim_can_name_is_there():
    assert set(ESTIMATORS) == set(Estimator.__args__)


def test_the_settled_depth_is_a_median_over_wordings_and_never_comes_last(cases):
    rows = [
        {"item": "a", "wording": "x", "settled_top1": 2},
        {"item": "a", "wording": "y", "settled_top1": 3},
        {"item": "a", "wording": "z", "settled_top1": None},
        {"item": "b", "settled_top1": None},
        {"item": "c", "settled_top1": 0},
    ]
    found = sample("settled_depth", cases(rows))
    assert found.statistic == "median"
    assert by_item(found) == {"s/a": 0.75, "s/b": 1.25, "s/c": 0}


def test_phases_need_noise_to_end_first_the_answer_to_settle_early_and_its_probability_to_fall(cases):
    holds, late_noise, last, never, no_noise_end, rises = range(6)
    milestones = {
        holds: (1, 2), late_noise: (2, 2), last: (1, 4), never: (1, None), no_noise_end: (None, 2), rises: (1, 2),
    }  # fmt: skip
    rows = [{"half_entropy": noise, "settled_top1": settled} for noise, settled in milestones.values()]
    probs = np.tile([0, 0, 0, 0.9, 0.5], (6, 1))
    probs[rises] = [0, 0, 0, 0.4, 0.5]
    found = sample("phases", cases(rows, answer_prob=probs))
    assert found.statistic == "share"
    assert by_item(found) == {f"s/{item}": float(at == holds) for at, item in enumerate(ITEMS)}


def test_phases_of_an_item_are_the_share_of_its_wordings(cases):
    rows = [
        {"item": item, "wording": wording, "half_entropy": 1, "settled_top1": settled}
        for item in ITEMS
        for wording, settled in (("x", 2), ("y", 4))
    ]
    found = sample("phases", cases(rows, answer_prob=np.tile([0, 0, 0, 0.9, 0.5], (12, 1))))
    assert set(by_item(found).values()) == {0.5}


def test_the_inner_layer_is_chosen_on_other_items(cases):
    probs = np.tile([0, 0.1, 0.2, 0.6, 0.5], (6, 1))
    odd = 0
    probs[odd] = [0, 1, 0.2, 0.3, 0.5]  # best at layer 1, which no other item would choose
    found = sample("inner_minus_final", cases([{} for _ in ITEMS], answer_prob=probs))
    assert found.statistic == "median"
    expected = {f"s/{item}": 0.1 for item in ITEMS} | {f"s/{ITEMS[odd]}": -0.2}
    assert by_item(found) == pytest.approx(expected)


def test_the_inner_layer_depends_on_nothing_of_its_own_fold(cases):
    items = [f"i{at:02}" for at in range(12)]
    fold = folds([f"s/{item}" for item in items])
    probs = np.random.default_rng(0).random((12, 5))
    found = by_item(sample("inner_minus_final", cases([{} for _ in items], answer_prob=probs)))
    for at, item in enumerate(items):
        others = probs[fold != fold[at], 1:4].mean(axis=0)
        assert found[f"s/{item}"] == pytest.approx(probs[at, 1 + others.argmax()] - probs[at, 4])


def test_directions_are_paired_where_both_have_the_item(cases):
    rows = [
        {"item": "a", "direction": "there", "wording": "x"},
        {"item": "a", "direction": "there", "wording": "y"},
        {"item": "a", "direction": "back", "wording": "x"},
        {"item": "b", "direction": "there"},
        {"item": "c", "direction": "back"},
        {"item": "d", "direction": "there"},
        {"item": "d", "direction": "back"},
    ]
    logprob = np.zeros((7, 5))
    logprob[:, 4] = np.log([0.9, 0.5, 0.3, 0.1, 0.2, 0.25, 0.5])
    found = sample("direction_difference", cases(rows, answer_logprob=logprob), ("there", "back"))
    assert found.statistic == "median"
    assert by_item(found) == pytest.approx({"s/a": 0.7 - 0.3, "s/d": -0.25})
    back = sample("direction_difference", cases(rows, answer_logprob=logprob), ("back", "there"))
    assert by_item(back) == pytest.approx({"s/a": -0.4, "s/d": 0.25})


def test_a_direction_without_questions_leaves_no_pairs(cases):
    found = sample("direction_difference", cases([{"direction": "there"}]), ("there", "back"))
    assert found.values.items == ()


def test_the_norm_matters_by_the_median_over_layers_of_the_raw_lens(cases):
    bits = [[0, 1, 2, 8, 9], [4, 4, 4, 4, 4], [10, 0, 0, 0, 0]]
    rows = [{"item": "a", "wording": "x"}, {"item": "a", "wording": "y"}, {"item": "b"}]
    raw = cases(rows, lens="raw", kl_from_logit_lens_bits=bits)
    found = sample("norm_matters", cases(rows), raw=raw)
    assert found.statistic == "median"
    assert by_item(found) == {"s/a": 3, "s/b": 0}


def test_the_norm_cannot_be_judged_without_a_raw_lens(cases):
    with pytest.raises(NotEstimableError, match="no raw lens"):
        sample("norm_matters", cases([{}]))


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"norm_matters"}))
def test_everything_else_is_of_the_logit_lens(cases, name):
    with pytest.raises(NotEstimableError, match="no logit lens"):
        sample(name, cases([{}], lens="raw"), ("a", "b"))


@pytest.mark.parametrize(("n_layers", "before"), [(4, 3), (13, 12), (14, 12), (18, 16), (20, 17), (30, 26), (40, 34)])
def test_the_last_layers_are_15_percent_rounded_down_and_at_least_one(cases, n_layers, before):
    entropy = np.arange(n_layers + 1) ** 2.0
    found = sample("late_entropy_change", cases([{}], n_layers=n_layers, entropy_bits=entropy))
    assert found.statistic == "median"
    assert by_item(found) == {"s/i00": n_layers**2 - before**2}
    assert n_layers - before == max(1, math.floor(15 * n_layers / 100))


def test_the_inner_top_is_compared_with_the_outputs(cases):
    probs = np.tile([0, 0.1, 0.7, 0.6, 0.5], (6, 1))  # layer 2 is chosen for all
    top = np.tile([9, 8, 7, 6, 7], (6, 1))
    top[3] = [7, 7, 8, 7, 7]
    found = sample("inner_top_is_output", cases([{} for _ in ITEMS], answer_prob=probs, top=top))
    assert found.statistic == "share"
    assert by_item(found) == {f"s/{item}": float(at != 3) for at, item in enumerate(ITEMS)}


@pytest.mark.parametrize("name", ["phases", "inner_minus_final", "inner_top_is_output"])
def test_one_item_chooses_no_inner_layer(cases, name):
    """Nor do several wordings of it: they share a fold."""
    with pytest.raises(NotEstimableError, match=r"too few items \(1\)"):
        sample(name, cases([{"item": "a", "wording": "x"}, {"item": "a", "wording": "y"}]))


@pytest.mark.parametrize("name", ["phases", "inner_minus_final", "inner_top_is_output"])
def test_a_model_of_one_layer_has_no_inner_one(cases, name):
    with pytest.raises(NotEstimableError, match="no layer between"):
        sample(name, cases([{} for _ in ITEMS], n_layers=1))


@pytest.mark.parametrize("name", ["settled_depth", "late_entropy_change", "norm_matters", "direction_difference"])
def test_no_questions_are_no_items(cases, name):
    found = sample(name, cases([]), ("a", "b"), raw=cases([], lens="raw"))
    assert found.values.items == ()


def test_each_estimator_says_what_it_is_and_its_unit(cases):
    assert set(UNITS) == set(ESTIMATORS)
    made = cases([{"direction": each} for each in "ab" for _ in ITEMS], top=np.zeros((12, 5)))
    for name, unit in UNITS.items():
        assert unit.startswith(sample(name, made, ("a", "b"), raw=made).statistic)
        assert definition(name).endswith(".")
        assert "\n" not in definition(name)
