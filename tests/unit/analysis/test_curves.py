"""Curves over layers, against the statistics they are made of."""

import numpy as np
import pytest
from scipy import stats

from layerwise.analysis.curves import answer_prob_by_depth, temperature_fits
from layerwise.measures.calibration import folds


def test_the_curve_is_the_median_over_items_with_scipys_interval(cases):
    draw = np.random.default_rng(0)
    rows = [{"item": f"i{at // 2}", "wording": f"w{at % 2}", "set": "a" if at < 24 else "b"} for at in range(40)]
    probs = draw.random((40, 5))
    points = list(answer_prob_by_depth(cases(rows, answer_prob=probs)))
    assert [(point.set, point.layer, point.depth) for point in points] == [
        (name, layer, layer / 4) for name in "ab" for layer in range(5)
    ]
    values = np.sort(probs[:24, 3].reshape(12, 2).mean(axis=1))
    drawn = stats.bootstrap(
        (values,), np.median, n_resamples=500, method="percentile", rng=np.random.default_rng(0), vectorized=True
    )
    third = points[3]
    assert (third.value, third.low, third.high) == (np.median(values), *drawn.confidence_interval)
    assert (third.n, points[8].n) == (12, 8)


def test_unknown_answers_are_no_part_of_the_curve(cases):
    rows = [{"known": True}, {"known": False}, {"set": "other", "known": False}]
    points = list(answer_prob_by_depth(cases(rows, answer_prob=[[0.1] * 5, [0.9] * 5, [0.9] * 5])))
    assert {(point.set, point.value, point.n) for point in points} == {("s", 0.1, 1)}


TEMPERATURES = (0.5, 1.0, 2.0)


def read(cases, logits, rows, temperatures=TEMPERATURES):
    """Return cases with the numbers that a readout keeps of logits [question, layer, token]."""

    def entropy_of(logprob):
        return -(np.exp(logprob) * logprob).sum(-1) / np.log(2)

    z = np.asarray(logits, dtype=float)
    logprob = z - np.log(np.exp(z).sum(-1, keepdims=True))
    final = logprob[:, -1:]
    kl = (np.exp(final) * (final - logprob)).sum(-1) / np.log(2)
    lse = np.stack([np.log(np.exp(z / t).sum(-1)) for t in temperatures], axis=-1)
    kept = {"entropy_bits": entropy_of(logprob), "kl_from_final_bits": kl}
    return cases(rows, lse=lse, temperatures=temperatures, **kept)


def kl_at(z, temperature):
    """Return KL(output ‖ layer at a temperature) in bits, [question, layer], from the definition."""

    def logprob(x):
        return x - np.log(np.exp(x).sum(-1, keepdims=True))

    final = logprob(z[:, -1:])
    return (np.exp(final) * (final - logprob(z / temperature))).sum(-1) / np.log(2)


def test_a_layer_that_is_the_output_at_another_temperature_is_found_out(cases):
    output = np.random.default_rng(0).normal(size=(12, 1, 7)) * 3
    logits = np.concatenate([output * 0.5, output * 2, output * 0.5, output, output], axis=1)
    fits = temperature_fits(read(cases, logits, [{} for _ in range(12)]))
    assert [fit.temperature for fit in fits] == [0.5, 2, 0.5, 1, 1]
    assert [fit.layer for fit in fits] == [0, 1, 2, 3, 4]
    assert all(fit.kl_after == pytest.approx(0, abs=1e-9) for fit in fits)
    assert fits[0].kl_before > 0.1


def test_temperatures_are_fitted_on_other_items(cases):
    z = np.random.default_rng(3).normal(size=(20, 5, 7)) * 2
    rows = [{} for _ in range(20)]
    made = read(cases, z, rows)
    fold = folds(list(made.items))
    by_temperature = np.stack([kl_at(z, t) for t in TEMPERATURES], axis=-1)
    after, chosen = np.empty((20, 5)), []
    for number in range(fold.max() + 1):
        best = by_temperature[fold != number].mean(axis=0).argmin(axis=1)
        chosen.append(np.array(TEMPERATURES)[best])
        after[fold == number] = np.take_along_axis(by_temperature[fold == number], best[None, :, None], 2)[..., 0]
    fits = temperature_fits(made)
    np.testing.assert_allclose([fit.kl_after for fit in fits], np.median(after, axis=0), atol=1e-9)
    np.testing.assert_allclose([fit.kl_before for fit in fits], np.median(kl_at(z, 1), axis=0), atol=1e-9)
    assert [fit.temperature for fit in fits] == np.median(chosen, axis=0).tolist()


def test_the_order_of_questions_changes_no_curve(cases):
    z = np.random.default_rng(3).normal(size=(20, 5, 7)) * 2
    rows = [{"item": f"i{at // 2}", "wording": f"w{at % 2}"} for at in range(20)]
    order = np.random.default_rng(4).permutation(20)
    shuffled = [rows[at] for at in order]
    for first, second in zip(
        temperature_fits(read(cases, z, rows)), temperature_fits(read(cases, z[order], shuffled)), strict=True
    ):
        assert vars(first) == pytest.approx(vars(second))
    probs = np.random.default_rng(5).random((20, 5))
    curve, other = (
        list(answer_prob_by_depth(cases(made, answer_prob=values)))
        for made, values in ((rows, probs), (shuffled, probs[order]))
    )
    assert curve == other


@pytest.mark.parametrize("temperatures", [(0.5, 2.0), (1.0,)])
def test_without_1_or_another_temperature_nothing_is_fitted(cases, temperatures):
    z = np.random.default_rng(0).normal(size=(12, 5, 7))
    assert temperature_fits(read(cases, z, [{} for _ in range(12)], temperatures)) == []


def test_without_temperatures_or_questions_nothing_is_fitted(cases):
    assert temperature_fits(cases([{}])) == []
    assert temperature_fits(cases([], lse=np.zeros((0, 5, 3)), temperatures=TEMPERATURES)) == []
    assert list(answer_prob_by_depth(cases([]))) == []


def test_one_item_fits_no_temperature(cases):
    assert temperature_fits(read(cases, np.zeros((1, 5, 7)), [{}])) == []
