import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

from layerwise.errors import CheckError
from layerwise.measures.calibration import (
    HeldOutInner,
    HeldOutTemperature,
    folds,
    held_out_inner,
    held_out_temperature,
    kl_at_temperatures,
)

GRID = np.array([0.25, 0.5, 0.75, 1, 1.5, 2, 4])
NAMES = st.lists(st.text(max_size=8), max_size=12)


def what_a_readout_keeps(logits: np.ndarray, dtype: type[np.floating] = np.float64) -> dict[str, np.ndarray]:
    """Return KL, entropy and log-sum-exp of logits [question, layer, token], rounded to `dtype`."""
    logprob = log_softmax(logits, axis=-1)
    final = np.exp(logprob[:, -1])
    kept = {
        "kl_from_final_bits": np.sum(final[:, None] * (logprob[:, -1:] - logprob), axis=-1) / np.log(2),
        "entropy_final_bits": -np.sum(final * logprob[:, -1], axis=-1) / np.log(2),
        "lse": logsumexp(logits[:, :, None] / GRID[:, None], axis=-1),
    }
    return {name: values.astype(dtype) for name, values in kept.items()}


def kl_directly(logits: np.ndarray) -> np.ndarray:
    """Return KL(output ‖ softmax(z / T)) in bits by its definition: [question, layer, temperature]."""
    final = log_softmax(logits[:, -1], axis=-1)[:, None, None]
    tempered = log_softmax(logits[:, :, None] / GRID[:, None], axis=-1)
    return np.sum(np.exp(final) * (final - tempered), axis=-1) / np.log(2)


def random_logits(seed: int, questions: int = 6, layers: int = 4, tokens: int = 500, scale: float = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(7, scale, (questions, layers, tokens))


def inner(prob, fold) -> HeldOutInner:
    found = held_out_inner(prob, fold)
    assert found is not None
    return found


def fitted(kl, fold) -> HeldOutTemperature:
    found = held_out_temperature(kl, GRID, fold)
    assert found is not None
    return found


# --- folds ---


@given(items=NAMES, others=NAMES, count=st.integers(1, 9), seed=st.integers(0, 99))
def test_a_fold_follows_from_the_items_name_and_the_seed_alone(items, others, count, seed):
    alone = [folds([item], count, seed)[0] for item in items]
    assert folds([*others, *items], count, seed)[len(others) :].tolist() == alone
    assert all(0 <= fold < count for fold in alone)


def test_folds_are_the_same_everywhere_and_forever():
    assert folds(["Germany", "France", "Japan", "Peru", "Germany"]).tolist() == [4, 3, 3, 0, 4]


def test_folds_are_about_equally_large_and_another_seed_deals_anew():
    items = [f"item {number}" for number in range(1000)]
    assert np.all(np.abs(np.bincount(folds(items)) - 200) < 60)
    assert 0.1 < np.mean(folds(items) == folds(items, seed=1)) < 0.3


# --- the inner layer ---


def test_the_layer_is_chosen_on_the_other_folds_and_judged_on_this_one():
    prob = np.array([[0.99, 0.1, 0.8, 0.99], [0.99, 0.2, 0.6, 0.99], [0.99, 0.9, 0.3, 0.99]])
    found = inner(prob, np.array([0, 0, 1]))
    # Fold 0 takes the third question's layer 1, fold 1 the first two's layer 2; layers 0 and n never.
    assert found.layer.tolist() == [1, 1, 2]
    assert found.inner_prob.tolist() == [0.1, 0.2, 0.3]


def test_of_equal_layers_the_first_is_chosen():
    assert inner(np.full((4, 6), 0.5), np.array([0, 1, 0, 1])).layer.tolist() == [1] * 4


def test_nothing_is_chosen_without_other_questions_or_inner_layers():
    assert held_out_inner(np.full((3, 5), 0.5), np.zeros(3, dtype=int)) is None
    assert held_out_inner(np.full((0, 5), 0.5), np.zeros(0, dtype=int)) is None
    assert held_out_inner(np.full((4, 2), 0.5), np.array([0, 1, 0, 1])) is None
    assert held_out_temperature(np.ones((3, 2, 7)), GRID, np.full(3, 2)) is None


def test_a_layer_chosen_on_the_same_questions_flatters_noise_and_a_held_out_one_does_not():
    random = np.random.default_rng(0)
    fold = np.arange(40) % 5
    same, held_out = [], []
    for _ in range(200):
        prob = random.uniform(0.4, 0.6, (40, 30))  # every layer is .5 on average
        same.append(prob[:, 1:-1].mean(axis=0).max())
        held_out.append(inner(prob, fold).inner_prob.mean())
    # The error of either mean is below .001: 8000 probabilities with a deviation of .058.
    assert np.mean(same) > 0.515
    assert np.mean(held_out) == pytest.approx(0.5, abs=0.003)


# --- temperature ---


@pytest.mark.parametrize("scale", [0.1, 4, 30])
def test_divergences_at_temperatures_are_those_of_the_definition(scale):
    logits = random_logits(1, scale=scale)
    found = kl_at_temperatures(**what_a_readout_keeps(logits), temperatures=GRID)
    assert found.shape == (6, 4, 7)
    assert found == pytest.approx(kl_directly(logits), abs=1e-9, rel=1e-9)


@pytest.mark.parametrize("scale", [0.1, 4, 30])
def test_float32_costs_no_more_than_rounding_and_nothing_falls_below_zero(scale):
    logits = random_logits(2, scale=scale)
    logits[:, 0] = 2 * logits[:, -1]  # at temperature 2 the output itself: the difference of large terms is 0
    found = kl_at_temperatures(**what_a_readout_keeps(logits, np.float32), temperatures=GRID)
    assert found.dtype == np.float64
    assert np.all(found >= 0)
    # Measured up to 3e-7 of the largest term.
    assert found == pytest.approx(kl_directly(logits), abs=1e-6 * (1 + np.abs(logits).max() / GRID.min()))


def test_at_temperature_one_the_divergence_is_the_one_given():
    kept = what_a_readout_keeps(random_logits(3))
    found = kl_at_temperatures(**kept, temperatures=GRID)
    assert found[..., 3] == pytest.approx(kept["kl_from_final_bits"], abs=1e-12)


def test_numbers_of_different_logits_are_refused():
    kept = what_a_readout_keeps(random_logits(4))
    with pytest.raises(CheckError, match="cannot be negative"):
        kl_at_temperatures(**kept | {"lse": kept["lse"] - GRID}, temperatures=GRID)
    with pytest.raises(CheckError):
        kl_at_temperatures(**kept | {"lse": kept["lse"] * np.nan}, temperatures=GRID)


def test_temperature_one_must_be_there_to_compare_with():
    kept = what_a_readout_keeps(random_logits(5))
    with pytest.raises(ValueError, match="Expected 1 among"):
        kl_at_temperatures(**kept, temperatures=GRID + 0.1)
    with pytest.raises(ValueError, match="Expected 1 among"):
        held_out_temperature(np.ones((4, 2, 7)), GRID + 0.1, np.array([0, 1, 0, 1]))


def test_a_layer_that_is_the_output_at_another_temperature_is_recovered():
    logits = random_logits(6, questions=20)
    logits[:, 0], logits[:, 1] = 2 * logits[:, -1], logits[:, -1] / 2
    fold = np.arange(20) % 4
    found = fitted(kl_at_temperatures(**what_a_readout_keeps(logits), temperatures=GRID), fold)
    assert found.temperature.shape == (4, 4)
    assert found.temperature[:, [0, 1, 3]].tolist() == [[2, 0.5, 1]] * 4
    assert found.kl_after[:, [0, 1, 3]] == pytest.approx(0, abs=1e-9)
    assert np.all(found.kl_before[:, :2] > 0.01)
    assert np.array_equal(found.kl_before[:, 3], found.kl_after[:, 3])


def test_the_temperature_is_fitted_on_the_other_folds_and_judged_on_this_one():
    kl = np.full((3, 1, 7), 9.0)
    kl[:2, 0, 5], kl[2, 0, 1] = 1, 2  # the first two want temperature 2, the third .5
    found = fitted(kl, np.array([0, 0, 2]))
    assert found.temperature[[0, 2], 0].tolist() == [0.5, 2]
    assert found.kl_after[:, 0].tolist() == [9, 9, 9]
    assert found.temperature[1, 0] == 2  # a fold without questions: fitted on all


def test_a_temperature_fitted_on_the_same_questions_flatters_noise_and_a_held_out_one_does_not():
    random = np.random.default_rng(1)
    kl = random.uniform(1, 3, (40, 200, 7))  # 200 layers, each 2 bits at every temperature
    assert kl.mean(axis=0).min(axis=-1).mean() < 1.9
    assert fitted(kl, np.arange(40) % 5).kl_after.mean() == pytest.approx(2, abs=0.03)


def test_nan_would_choose_and_is_refused():
    prob = np.full((4, 5), 0.5)
    prob[1, 2] = np.nan
    with pytest.raises(CheckError, match="1 of 4 questions"):
        held_out_inner(prob, np.array([0, 1, 0, 1]))
    with pytest.raises(CheckError, match="4 of 4 questions"):
        held_out_temperature(np.full((4, 2, 7), np.nan), GRID, np.array([0, 1, 0, 1]))
