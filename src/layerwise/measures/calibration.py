"""Whether inner layers are more certain than the output, judged on questions that nothing was chosen on.

A maximum over layers, or a fitted temperature, flatters the questions it was taken from. So questions
are put into folds; for each fold the choice is made on all the others.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from layerwise.errors import CheckError

_ROUNDING = 1e-6
"""What float32 may do to a divergence, as a share of the terms that it is the difference of. Measured:
5e-6 bits at temperature 0.1, where the terms are about 300, over a vocabulary of 150 000."""


@dataclass(frozen=True, eq=False)
class HeldOutInner:
    """Each question's probability at an inner layer that the other folds chose."""

    layer: Int[np.ndarray, " question"]
    inner_prob: Float[np.ndarray, " question"]

    @property
    def layers(self) -> tuple[int, ...]:
        """All that were chosen, ascending."""
        return tuple(np.unique(self.layer).tolist())


@dataclass(frozen=True, eq=False)
class HeldOutTemperature:
    """The temperature that best maps each layer to the output, and what it does to the other fold."""

    temperature: Float[np.ndarray, "fold layer"]
    """Fitted on all questions outside the fold. At an end of the grid, the best may lie beyond it."""
    kl_before: Float[np.ndarray, "question layer"]
    """KL(output ‖ layer) in bits, at temperature 1."""
    kl_after: Float[np.ndarray, "question layer"]
    """In bits, at the temperature of the question's fold. It may exceed `kl_before`: it was not fitted here."""


def folds(items: Sequence[str], count: int = 5, seed: int = 0) -> Int[np.ndarray, " question"]:
    """Return each question's fold, 0 … count − 1, from its item's name and the seed alone.

    Wordings of one item share a fold, and neither their order nor other items move it. Sizes are those of
    chance: of few items, a fold may have none.
    """
    digests = (hashlib.sha256(f"{seed}:{item}".encode()).digest() for item in items)
    return np.array([int.from_bytes(digest[:8], "big") % count for digest in digests], dtype=np.int64)


def held_out_inner(
    prob: Float[np.ndarray, "question layer"], fold: Int[np.ndarray, " question"]
) -> HeldOutInner | None:
    """Return each question's probability at the inner layer that is best on the other folds' questions.

    Inner layers are 1 … n − 1: neither what enters the model nor its output. The best has the highest mean
    probability; of equals, the first.

    Returns:
        None where nothing can be chosen: all questions share a fold, or the model has no inner layer.

    Raises:
        CheckError: a probability is NaN.
    """
    _must_be_numbers(prob)
    inner = prob[:, 1:-1]
    if not inner.shape[1] or _share_a_fold(fold):
        return None
    layer = np.empty(len(prob), dtype=np.int64)
    for _, own in _each_fold(fold):
        layer[own] = 1 + np.argmax(inner[~own].mean(axis=0))
    return HeldOutInner(layer, np.take_along_axis(prob, layer[:, None], axis=1)[:, 0])


def held_out_temperature(
    kl: Float[np.ndarray, "question layer temperature"],
    temperatures: Float[np.ndarray, " temperature"],
    fold: Int[np.ndarray, " question"],
) -> HeldOutTemperature | None:
    """Return, per fold and layer, the grid's temperature with the least mean KL on the other folds' questions.

    One scalar per layer, after Guo et al. 2017 (*On Calibration of Modern Neural Networks*), who fit it to
    labels; here it is fitted to the model's own output. It stays on the grid, where every KL is known.

    Args:
        kl: as `kl_at_temperatures` gives it, in bits.
        temperatures: the grid, 1 among it.
        fold: as `folds` gives it. A fold without questions gets the temperatures of all of them.

    Returns:
        None where nothing can be fitted: all questions share a fold.

    Raises:
        CheckError: a divergence is NaN.
        ValueError: 1 is not among the temperatures.
    """
    _must_be_numbers(kl)
    kl_before = kl[..., _index_of_one(temperatures)]
    if _share_a_fold(fold):
        return None
    chosen = np.empty((fold.max() + 1, kl.shape[1]))
    kl_after = np.empty_like(kl_before)
    for number, own in _each_fold(fold):
        best = kl[~own].mean(axis=0).argmin(axis=1)  # [layer]
        chosen[number] = np.asarray(temperatures)[best]
        kl_after[own] = np.take_along_axis(kl[own], best[None, :, None], axis=2)[..., 0]
    return HeldOutTemperature(chosen, kl_before, kl_after)


def kl_at_temperatures(
    kl_from_final_bits: Float[np.ndarray, "question layer"],
    entropy_final_bits: Float[np.ndarray, " question"],
    lse: Float[np.ndarray, "question layer temperature"],
    temperatures: Float[np.ndarray, " temperature"],
) -> Float[np.ndarray, "question layer temperature"]:
    """Return KL(P_n ‖ softmax(z_k / T)) in bits from what a readout keeps, without any logits.

    With P = P_n, H its entropy and lse_T = log Σ exp(z_k / T), all in nats:
    KL_T = −H − E_P[z_k] / T + lse_T, and from T = 1: E_P[z_k] = lse_1 − H − KL_1.

    Computed in float64. What is given was computed in float32, so a result may fall a little below 0;
    within rounding it is set to 0.

    Args:
        kl_from_final_bits: KL(P_n ‖ P_k), at temperature 1.
        entropy_final_bits: of P_n, the output.
        lse: natural logarithms, of z_k / T.
        temperatures: 1 among them.

    Raises:
        CheckError: a result is NaN or below 0 by more than rounding, so what was given does not belong together.
        ValueError: 1 is not among the temperatures.
    """
    lse = np.asarray(lse, dtype=np.float64)
    kl = np.asarray(kl_from_final_bits, dtype=np.float64) * math.log(2)
    entropy = np.asarray(entropy_final_bits, dtype=np.float64)[:, None] * math.log(2)
    expected_logit = lse[..., _index_of_one(temperatures)] - entropy - kl  # [question, layer]
    scaled = expected_logit[..., None] / np.asarray(temperatures, dtype=np.float64)
    result = lse - scaled - entropy[..., None]
    rounding = _ROUNDING * (1 + np.abs(lse) + np.abs(scaled) + entropy[..., None])
    if not np.all(result >= -rounding):
        raise CheckError(
            f"A divergence cannot be negative; got {np.min(result) / math.log(2):.3g} bits. Entropy, KL and "
            "log-sum-exp are then not of the same logits, and a temperature fitted to them would be wrong. "
            "Read them again."
        )
    return np.maximum(result, 0) / math.log(2)


def _each_fold(fold: np.ndarray) -> Iterator[tuple[int, Bool[np.ndarray, " question"]]]:
    """Yield each fold's number and which questions are its own."""
    for number in range(fold.max() + 1):
        yield number, fold == number


def _share_a_fold(fold: np.ndarray) -> bool:
    return len(np.unique(fold)) < 2


def _index_of_one(temperatures: np.ndarray) -> int:
    found = np.flatnonzero(np.asarray(temperatures) == 1)
    if not len(found):
        raise ValueError(f"Expected 1 among the temperatures, to compare with; got {list(temperatures)}.")
    return int(found[0])


def _must_be_numbers(values: np.ndarray) -> None:
    if wrong := int(np.sum(np.isnan(values).any(axis=tuple(range(1, values.ndim))))):
        raise CheckError(
            f"Expected numbers; {wrong} of {len(values)} questions have NaN, which would decide what is chosen. "
            "Leave these questions out."
        )
