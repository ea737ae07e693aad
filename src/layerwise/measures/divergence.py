"""How far apart two predictions are at least, when only the likeliest tokens of each are known."""

import math
from collections.abc import Mapping

_ROUNDING = 1e-6
"""Of a sum of probabilities that are kept in float32."""


def least_kl_bits(first: Mapping[int, float], second: Mapping[int, float]) -> float:
    """Return a lower bound of KL(P ‖ Q) in bits, from probabilities of some tokens of each.

    Tokens known of both are compared one by one, and all others as one: merging outcomes never
    increases a divergence (Cover & Thomas 2006, *Elements of Information Theory*, theorem 2.7.1, the log
    sum inequality). The bound is 0 where no token is known of both.

    Args:
        first: probabilities under P by token id, together at most 1.
        second: the same under Q.
    """
    pairs = [(first[token], second[token]) for token in first.keys() & second.keys()]
    # What is left of 1 is known to rounding only; the bound stays one with less of P and more of Q.
    left = [1 - sum(known) for known in zip(*pairs, strict=True)] or [1.0, 1.0]
    pairs.append((max(0.0, left[0] - _ROUNDING), max(0.0, left[1]) + _ROUNDING))
    total = 0.0
    for p, q in pairs:
        if p > 0:
            total += math.inf if q == 0 else p * math.log2(p / q)
    return max(0.0, total)
