"""Summaries of question sets, on cases made by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from layerwise.analysis.judging import SEED
from layerwise.analysis.set_summary import calibration_gaps, cells, comparisons, wrong_answers
from layerwise.measures.uncertainty import estimate, holm


def interval_by_scipy(values, statistic):
    """Return (value, low, high) straight from scipy."""
    ordered = np.sort(np.asarray(values, dtype=float))
    drawn = stats.bootstrap(
        (ordered,), statistic, n_resamples=2000, method="percentile", rng=np.random.default_rng(SEED), vectorized=True
    )
    return statistic(ordered), *drawn.confidence_interval


def p_by_scipy(differences) -> float:
    found: Any = stats.wilcoxon(differences)
    return found.pvalue


def ends(found):
    return found.value, found.low, found.high


def at_output(probs):
    """Return log-probabilities [question, layer] whose last layer has these probabilities."""
    logprob = np.full((len(probs), 5), -20.0)
    logprob[:, 4] = np.log(probs)
    return logprob


WORDINGS = [{"item": item, "direction": "d", "wording": wording} for item in "abcdefgh" for wording in "xyz"]


def test_a_cell_sums_up_items_and_not_questions(cases):
    draw = np.random.default_rng(0)
    known, probs = draw.random(24) < 0.6, draw.random(24)
    settled = [int(draw.integers(5)) if knows else None for knows in known]
    rows = [
        row | {"known": knows, "settled_top1": layer}
        for row, knows, layer in zip(WORDINGS, known, settled, strict=True)
    ]
    [cell] = cells(cases(rows, answer_logprob=at_output(probs)), by_wording=False)
    assert (cell.set, cell.direction, cell.wording, cell.questions, cell.items) == ("s", "d", None, 24, 8)
    assert ends(cell.known) == pytest.approx(interval_by_scipy(known.reshape(8, 3).mean(axis=1), np.mean))
    assert ends(cell.answer_prob) == pytest.approx(interval_by_scipy(probs.reshape(8, 3).mean(axis=1), np.median))
    depths = [
        np.median([layer / 4 for layer in settled[3 * at : 3 * at + 3] if layer is not None])
        for at in range(8)
        if known[3 * at : 3 * at + 3].any()
    ]
    assert ends(cell.depths["settled_top1"]) == pytest.approx(interval_by_scipy(depths, np.median))
    assert cell.known_items == len(depths)
    assert cell.never_settled == pytest.approx(1 - known.mean())


def test_each_wording_has_a_cell_of_its_own_in_the_order_of_the_run(cases):
    found = cells(cases(WORDINGS), by_wording=True)
    assert [(cell.direction, cell.wording, cell.questions, cell.items) for cell in found] == [
        ("d", name, 8, 8) for name in "xyz"
    ]


def test_a_model_that_knows_nothing_has_cells_without_depths(cases):
    [cell] = cells(cases([{"known": False} for _ in range(5)]), by_wording=False)
    assert cell.known is not None
    assert (cell.known_items, cell.known.value, cell.never_settled) == (0, 0, 1)
    assert set(cell.depths.values()) == {None}
    assert cells(cases([]), by_wording=False) == []


def test_a_wrong_answer_is_read_beside_the_right_one(cases):
    ranks = np.full((4, 5), 9)
    ranks[:, 4] = [1, 1, 2, 1]
    wrong_ranks = np.full((4, 5), 9.0)
    wrong_ranks[:, 4] = [2, 3, 1, np.nan]
    rows = [{"wrong": " b"}, {"wrong": " b"}, {"wrong": " c"}, {"wrong": None}]
    right, wrong = np.array([0.9, 0.8, 0.1, 1.0]), np.array([0.05, 0.1, 0.6, np.nan])
    [row] = wrong_answers(
        cases(
            rows,
            answer_rank=ranks,
            wrong_rank=wrong_ranks,
            answer_logprob=at_output(right),
            wrong_logprob=at_output(wrong),
        )
    )
    # The question without a wrong answer counts on neither side.
    assert (row.right_leads, row.wrong_leads) == (
        estimate(np.array([1, 1, 0]), "share", seed=SEED),
        estimate(np.array([0, 0, 1]), "share", seed=SEED),
    )
    assert ends(row.right_prob) == pytest.approx(interval_by_scipy(right[:3], np.median))
    assert ends(row.wrong_prob) == pytest.approx(interval_by_scipy(wrong[:3], np.median))


def test_a_set_without_wrong_answers_has_no_estimate_of_them(cases):
    [row] = wrong_answers(cases([{}, {}]))
    assert (row.right_leads, row.wrong_leads, row.right_prob, row.wrong_prob) == (None,) * 4


def test_a_gap_is_measured_at_a_layer_that_other_items_chose(cases):
    probs = np.tile([0, 0.1, 0.2, 0.6, 0.5], (6, 1))
    probs[0] = [0, 1, 0.2, 0.3, 0.5]
    probs[5] = [0, 1, 1, 1, 0]
    rows = [{} for _ in range(5)] + [{"known": False}]
    made = cases(rows, answer_prob=probs)
    [gap] = calibration_gaps(made, made)
    assert (gap.set, gap.lens, gap.layer) == ("s", "logit", (3,))
    assert ends(gap.gap) == pytest.approx(interval_by_scipy([-0.2, 0.1, 0.1, 0.1, 0.1], np.median))


def test_a_gap_needs_known_answers_of_several_items(cases):
    for made in (cases([{"known": False} for _ in range(9)]), cases([{}])):
        assert calibration_gaps(made, made) == []


def test_the_gap_of_any_lens_is_to_the_models_output_and_not_to_that_lenss_last_layer(cases):
    """The raw lens's last layer says 0.1; the model itself says 0.5, its questions in another order."""
    rows = [{"item": f"i{at}"} for at in range(6)]
    raw = cases(rows, lens="raw", answer_prob=np.tile([0, 0.1, 0.2, 0.3, 0.1], (6, 1)))
    output = [0.5, 0.5, 0.5, 0.5, 0.5, 0.9]
    logit = cases(rows[::-1], answer_prob=[[0, 0, 0, 0, each] for each in output[::-1]])
    [gap] = calibration_gaps(raw, logit)
    assert (gap.lens, gap.layer) == ("raw", (3,))
    assert ends(gap.gap) == pytest.approx(interval_by_scipy([0.3 - each for each in output], np.median))


def test_directions_are_tested_on_the_items_that_both_have(cases):
    draw = np.random.default_rng(0)
    rows = [{"item": f"i{at}", "direction": "there"} for at in range(12)]
    rows += [{"item": f"i{at}", "direction": "back"} for at in range(4, 16)]
    probs = draw.random(24)
    [found] = comparisons([cases(rows, answer_logprob=at_output(probs))])
    assert (found.what, found.first, found.second, found.model) == ("directions", "there", "back", "m")
    assert found.test.n == 8
    difference = probs[4:12] - probs[12:20]
    assert found.test.p_value == pytest.approx(p_by_scipy(difference))
    assert ends(found.test.median_difference) == pytest.approx(interval_by_scipy(difference, np.median))
    ranks = stats.rankdata(np.abs(difference))
    assert found.test.rank_biserial == pytest.approx((ranks * np.sign(difference)).sum() / ranks.sum())


def test_wordings_are_compared_with_the_first_of_their_direction(cases):
    probs = np.random.default_rng(0).random(24)
    found = comparisons([cases(WORDINGS, answer_logprob=at_output(probs))])
    assert [(each.what, each.first, each.second) for each in found] == [
        ("wordings", "d/x", "d/y"),
        ("wordings", "d/x", "d/z"),
    ]
    table = probs.reshape(8, 3)
    for each, column in zip(found, (1, 2), strict=True):
        assert each.test.p_value == pytest.approx(p_by_scipy(table[:, 0] - table[:, column]))


def test_models_are_compared_on_the_questions_that_both_know(cases):
    """Were it items, a model that knows an easy wording would be compared with one that knows a hard one."""
    settled = {"one": [1, 2, None, 3, 2], "other": [3, None, 1, 4, 4]}
    questions = [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("c", "x")]
    made = [
        cases(
            [
                {"item": item, "wording": wording, "known": layer is not None, "settled_top1": layer}
                for (item, wording), layer in zip(questions, layers, strict=True)
            ],
            model=model,
        )
        for model, layers in settled.items()
    ]
    [found] = [each for each in comparisons(made) if each.what == "models"]
    assert (found.first, found.second, found.model, found.test.n) == ("one", "other", "", 3)
    assert ends(found.test.median_difference) == pytest.approx(interval_by_scipy([-0.5, -0.25, -0.5], np.median))


def test_models_are_compared_by_depth_and_not_by_layer(cases):
    rows = [{"settled_top1": layer} for layer in (1, 2, 3)]
    doubled = [{"settled_top1": 2 * layer} for layer in (1, 2, 3)]
    [found] = comparisons([cases(rows, model="one"), cases(doubled, model="other", n_layers=8)])
    assert found.test.median_difference.value == 0
    assert found.test.p_value == 1


def test_the_subject_is_swapped_between_questions_of_one_wording(cases):
    """Item a's wrong answer is b's, b's is c's, c's is d's; d's answer is also e's, so no swap tells them apart."""
    answers = {"a": (" A", " B"), "b": (" B", " C"), "c": (" C", " D"), "d": (" D", None), "e": (" D", " A")}
    rows = [
        {"item": item, "direction": "there", "wording": "x", "group": "g", "answer": right, "wrong": wrong}
        for item, (right, wrong) in answers.items()
    ]
    # The other direction has no swap for these items, so its probabilities must not count.
    rows += [
        {"item": item, "direction": "back", "wording": "x", "group": "g", "answer": f" {item}"} for item in answers
    ]
    own = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.01, 0.01, 0.01, 0.01, 0.01])
    wrong = np.array([0.1, 0.2, 0.3, np.nan, 0.4, *[np.nan] * 5])
    found = comparisons([cases(rows, answer_logprob=at_output(own), wrong_logprob=at_output(wrong))])
    [swap] = [each for each in found if each.what == "swapped subject"]
    assert (swap.first, swap.second, swap.test.n) == ("own subject", "another's", 3)
    # " B" after b and after a; " C" after c and after b; " A" after a and after e.
    differences = [0.8 - 0.1, 0.7 - 0.2, 0.9 - 0.4]
    assert ends(swap.test.median_difference) == pytest.approx(interval_by_scipy(differences, np.median))


def test_subjects_of_different_groups_are_not_swapped(cases):
    rows = [
        {"item": "a", "group": "g", "answer": " A", "wrong": " B"},
        {"item": "b", "group": "h", "answer": " B", "wrong": " A"},
    ]
    made = cases(rows, answer_logprob=at_output([0.9, 0.8]), wrong_logprob=at_output([0.1, 0.2]))
    assert comparisons([made]) == []


def many(cases, order=None, model="m"):
    """Return questions of two sets in two directions and three wordings, with random numbers, maybe reordered."""
    draw = np.random.default_rng(len(model))
    rows = [
        {
            "set": name, "item": f"i{at}", "direction": direction, "wording": wording, "group": "g",
            "answer": f" {direction}{at}", "wrong": f" {direction}{(at + 1) % 9}", "known": bool(draw.random() < 0.7),
            "settled_top1": int(draw.integers(5)), "half_entropy": int(draw.integers(5)),
        }
        for name in "st" for direction in "de" for wording in "xyz" for at in range(9)
    ]  # fmt: skip
    order = np.arange(len(rows)) if order is None else order
    names = ("answer_prob", "answer_rank", "wrong_rank")
    curves = {name: draw.integers(1, 4, size=(len(rows), 5)) / 4 for name in names}
    curves |= {name: -draw.random((len(rows), 5)) for name in ("answer_logprob", "wrong_logprob")}
    curves["answer_prob"] = draw.random((len(rows), 5))
    shuffled = {name: values[order] for name, values in curves.items()}
    return cases([rows[at] for at in order], model=model, **shuffled)


def test_p_values_are_adjusted_over_all_tests_of_the_report(cases):
    found = comparisons([many(cases), many(cases, model="other")])
    kinds = {each.what for each in found}
    assert kinds == {"models", "directions", "wordings", "swapped subject"}
    assert len(found) == 2 + 2 * 2 + 2 * 2 * 4 // 2 * 2 + 2 * 2
    raw = np.array([each.test.p_value for each in found])
    assert [each.adjusted_p for each in found] == holm(raw).tolist()
    smallest = raw.argmin()
    assert found[smallest].adjusted_p == min(1, raw[smallest] * len(raw))


def test_the_order_of_questions_changes_no_result(cases):
    """But for which condition is called the first: that is the run's order."""
    order = np.random.default_rng(9).permutation(108)
    first, second = many(cases), many(cases, order)

    def by_key(made):
        found = {}
        for each in cells(made, by_wording=True) + cells(made, by_wording=False):
            found[each.set, each.direction, each.wording] = each
        for each in wrong_answers(made):
            found["wrong", each.set] = each
        for each in calibration_gaps(made, made):
            found["gap", each.set] = each
        return found

    assert by_key(first) == by_key(second)


def test_the_order_of_items_changes_no_comparison(cases):
    rows = np.arange(108).reshape(12, 9)
    order = rows[:, np.random.default_rng(9).permutation(9)].ravel()
    other = many(cases, model="other")
    assert comparisons([many(cases), other]) == comparisons([many(cases, order), other])


def test_a_comparison_needs_two_items(cases):
    rows = [{"item": "a", "direction": "there"}, {"item": "a", "direction": "back"}]
    assert comparisons([cases(rows)]) == []
    assert comparisons([]) == []
    assert comparisons([cases([])]) == []


def test_turning_a_comparison_round_turns_its_sign(cases):
    made = many(cases)
    there = [each for each in comparisons([made]) if each.what == "directions"]
    turned = made.where(np.ones(len(made)))
    turned = replace(turned, rows=turned.rows.replace({"direction": {"d": "e", "e": "d"}}))
    back = [each for each in comparisons([turned]) if each.what == "directions"]
    for one, other in zip(there, back, strict=True):
        assert (one.first, one.second) == (other.second, other.first)
        assert one.test.rank_biserial == pytest.approx(-other.test.rank_biserial) or one.test == other.test
