import numpy as np
import pytest
from scipy.stats import entropy

from layerwise.measures.divergence import least_kl_bits


def draw(seed: int, size: int = 40) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.dirichlet(np.full(size, 0.3)), random.dirichlet(np.full(size, 0.3))


def top(p: np.ndarray, k: int) -> dict[int, float]:
    return {int(i): float(p[i]) for i in np.argsort(-p)[:k]}


@pytest.mark.parametrize("seed", range(20))
def test_it_is_a_lower_bound_that_knowing_more_tokens_raises_to_the_divergence(seed):
    p, q = draw(seed)
    exact = float(entropy(p, q, base=2))
    bounds = [least_kl_bits(top(p, k), top(q, k)) for k in (1, 5, 20, 40)]
    assert all(bound <= exact + 1e-9 for bound in bounds)
    assert bounds[-1] == pytest.approx(exact, abs=1e-4)


def test_equal_distributions_do_not_diverge():
    p, _ = draw(0)
    assert least_kl_bits(top(p, 5), top(p, 5)) == 0


def test_nothing_is_known_where_no_token_is_common():
    assert least_kl_bits({1: 0.5}, {2: 0.5}) == 0


def test_what_the_other_rules_out_diverges_without_end():
    assert least_kl_bits({1: 0.5, 2: 0.5}, {1: 1.0, 2: 0.0}) == np.inf
