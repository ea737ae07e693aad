import numpy as np
import pytest
import torch

from layerwise.fitting.ridge import RidgeEstimator, _centred, _product


def windows(count=12, length=16, seed=0):
    return torch.randint(20, 400, (count, length), generator=torch.Generator().manual_seed(seed))


def states_of(model, ids, oracle):
    """Return states [layer, place, d_model] in float64, from position 1 on, by transformers alone."""
    return torch.cat([oracle(model).run(window)[0][:, 1:] for window in ids.tolist()], dim=1).double().numpy()


@pytest.mark.parametrize("penalty", [1e-3, 0.3])
@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_translators_are_ridge_regressions(load_family, oracle, name, penalty):
    """As scikit-learn's Ridge has it: rows √λ·I below centred states, zeros below what is predicted, least squares."""
    model = load_family(name)
    estimator = RidgeEstimator(model._loaded, (0, 2, 3), penalty=penalty)
    ids = windows()
    estimator.add(ids[:5])
    estimator.add(ids[5:])
    states = states_of(model, ids, oracle)
    for layer, translator in estimator.translators().items():
        x, y = states[layer], states[-1]
        x_mean, y_mean = x.mean(0), y.mean(0)
        d = x.shape[1]
        weight = penalty * ((x - x_mean) ** 2).sum() / d
        below = np.sqrt(weight) * np.eye(d)
        solved, *_ = np.linalg.lstsq(np.vstack([x - x_mean, below]), np.vstack([y - y_mean, 0 * below]), rcond=None)
        size = np.abs(solved).max()
        assert translator.bias is not None
        np.testing.assert_allclose(translator.matrix.numpy(), solved.T, atol=2e-4 * size)
        np.testing.assert_allclose(translator.bias.numpy(), y_mean - x_mean @ solved, atol=2e-3 * np.abs(y).max())
    assert set(estimator.translators()) == {0, 2, 3}


def test_sums_of_two_estimators_add_up_to_those_of_one(load_family):
    model = load_family("llama3")._loaded
    whole, first, second, merged = (RidgeEstimator(model, (0, 1, 2, 3)) for _ in range(4))
    ids = windows()
    whole.add(ids)
    first.add(ids[:7])
    second.add(ids[7:])
    merged.sums.include(first.sums)
    merged.sums.include(second.sums)
    for layer, translator in merged.translators().items():
        torch.testing.assert_close(translator.matrix, whole.translators()[layer].matrix, rtol=1e-3, atol=1e-5)


def test_a_large_common_part_costs_no_digits():
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(500, 8, generator=draw) + 3e4
    values, mean = _centred(states)
    x = states.double() - states.double().mean(0)
    centred = _product(values, mean, values, mean) - 500 * torch.outer(mean, mean)
    torch.testing.assert_close(centred, x.T @ x, rtol=1e-5, atol=1e-3)


def test_the_first_position_is_left_out(load_family):
    model = load_family("qwen3")._loaded
    first, second = RidgeEstimator(model, (1,)), RidgeEstimator(model, (1,))
    ids = windows(3)
    first.add(ids)
    assert float(first.sums["count"]) == 3 * 15
    second = RidgeEstimator(model, (1,), first=0)
    second.add(ids)
    assert float(second.sums["count"]) == 3 * 16
