"""The statistics of `layerwise.readout.row_statistics` on the CPU, compiled: each row in two passes.

The first finds block maxima, and with them the row's largest logits; the second takes the exponential
once and every sum that it enters. Sums run over pieces in float32, and over the pieces in float64.

Long because Numba compiles a function anew when the file changes that it stands in, and looks into no other: beside a
kernel whose code is kept on disk has to stand all that it calls.
"""

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

from layerwise.compiled import REASSOCIATED, run_in_threads
from layerwise.readout.readout import BITS, Readout, ReadoutPlan

_BLOCK = 64
"""Width of the blocks whose maxima tell where large logits are."""

_PIECE = 512
"""Length of the sums in float32."""

_ROWS_TOGETHER = 8
"""Least rows per thread: each piece of work prepares its places' last rows anew."""

_ENTROPY, _KL_TO, _KL_FROM, _VARIATION, _KL_BASE, _MASS = range(6)

_LOG2_E = np.float32(math.log2(math.e))
_LN2_HIGH = np.float32(0.693359375)
_LN2_LOW = np.float32(math.log(2) - 0.693359375)
_ROUNDER = np.float32(1.5 * 2**23)
"""Added to a float32, it leaves the nearest integer in the lowest bits."""
_TAYLOR = tuple(np.float32(1 / math.factorial(n)) for n in range(2, 8))
_SMALLEST = np.float32(-87)
"""e to this is about the smallest normal float32; below, a probability counts as 0."""


def read_logits(logits: Float[Tensor, "place row token"], wanted: ReadoutPlan) -> Readout:
    """Return what `layerwise.readout.row_statistics.read_logits` returns."""
    n_places, n_rows, _ = logits.shape
    count, n_targets = n_places * n_rows, wanted.targets.shape[1]
    top_ids = np.zeros((count, wanted.top_k), np.int64)
    top_logits = np.zeros((count, wanted.top_k), np.float32)
    lse = np.empty((count, len(wanted.temperatures)))
    numbers = np.empty((count, 6))
    target_logits = np.empty((count, n_targets), np.float32)
    above, equal = (np.empty((count, n_targets), np.int64) for _ in range(2))
    values = logits.detach().contiguous().numpy()
    chosen = (
        wanted.targets.numpy(),
        wanted.mass_ids.numpy(),
        np.array(wanted.temperatures),
        np.array(wanted.base, np.int64),
    )
    results = (top_ids, top_logits, lse, numbers, target_logits, above, equal)
    run_in_threads(lambda first, last: _read_rows(values, first, last, *chosen, *results), count, _ROWS_TOGETHER)
    by_place = {
        name: torch.from_numpy(array).unflatten(0, (n_places, n_rows))
        for name, array in (
            ("top_ids", top_ids),
            ("top_logits", top_logits),
            ("lse", lse),
            ("target_logits", target_logits),
            ("target_ranks", above + 1),
            ("target_ties", equal - 1),
            ("numbers", _as_float32(numbers)),
        )
    }
    in_bits = by_place.pop("numbers")
    return Readout(
        entropy_bits=in_bits[..., _ENTROPY],
        kl_to_final_bits=in_bits[..., _KL_TO],
        kl_from_final_bits=in_bits[..., _KL_FROM],
        total_variation=in_bits[..., _VARIATION],
        kl_from_base_bits=in_bits[..., _KL_BASE],
        mass=in_bits[..., _MASS],
        **by_place,
    )


def _as_float32(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # a divergence beyond float32 is an infinite one
        return numbers.astype(np.float32)


@njit(nogil=True, cache=True)
def _read_rows(
    logits,
    first,
    last,
    targets,
    mass_ids,
    temperatures,
    base,
    top_ids,
    top_logits,
    lse,
    numbers,
    target_logits,
    above,
    equal,
):
    """Fill the results' rows from `first` to `last`, counted through all places."""
    n_rows, width = logits.shape[1], logits.shape[2]
    reference, q, p = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    maxima = np.empty(-(-width // _BLOCK), np.float32)
    log_total_of_reference, prepared = 0.0, -1
    for index in range(first, last):
        place, row = index // n_rows, index % n_rows
        z = logits[place, row]
        if place != prepared:
            log_total_of_reference = _prepare(logits[place, n_rows - 1], reference, q)
            prepared = place
        _block_maxima(z, maxima)
        _find_top(z, maxima, top_logits[index], top_ids[index])
        largest = top_logits[index, 0]
        total, expected, gap_to, gap_from = _sums(z, largest, reference, q, p)
        log_total = math.log(total)
        shift = log_total - log_total_of_reference
        numbers[index, _ENTROPY] = _bits(log_total - expected / total)
        numbers[index, _KL_TO] = _bits(gap_to / total - shift)
        numbers[index, _KL_FROM] = _bits(gap_from + shift)
        numbers[index, _VARIATION] = _half_distance(p, np.float32(1 / total), q)
        numbers[index, _KL_BASE] = 0.0
        if base[row] != row:
            numbers[index, _KL_BASE] = _kl_from(logits[place, base[row]], z, largest, log_total)
        mass = 0.0
        for token in mass_ids[place]:
            if token >= 0:
                mass += p[token] / total
        numbers[index, _MASS] = mass
        for column in range(len(temperatures)):
            t = temperatures[column]
            log_sum = log_total if t == 1 else math.log(_total_at(z, largest, np.float32(1 / t)))
            lse[index, column] = largest / t + log_sum
        for column in range(targets.shape[1]):
            target_logits[index, column] = z[targets[place, column]]
            above[index, column], equal[index, column] = _compare(z, target_logits[index, column])


@intrinsic
def _bits_of(_context: Any, number: Any) -> Any:
    """Return a float32's bits as an integer."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@intrinsic
def _power_of_two(_context: Any, bits: Any) -> Any:
    """Return 2 to the integer in the lowest bits."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        exponent = builder.add(arguments[0], ir.Constant(ir.IntType(32), 127))
        return builder.bitcast(builder.shl(exponent, ir.Constant(ir.IntType(32), 23)), ir.FloatType())

    return types.float32(types.int32), generate


@njit(nogil=True, forceinline=True, fastmath={"contract"})
def _exp(x):
    """Return e^x for x ≤ 0, to 2e-7 of itself: 2^n times a short series; 0 where that is no normal float32.

    Without `reassoc`, which would undo the rounding by `_ROUNDER` and the two-part logarithm.
    """
    rounded = x * _LOG2_E + _ROUNDER
    n = rounded - _ROUNDER
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    a2, a3, a4, a5, a6, a7 = _TAYLOR
    series = ((((a7 * r + a6) * r + a5) * r + a4) * r + a3) * r + a2
    power = (series * r * r + r + np.float32(1)) * _power_of_two(_bits_of(rounded))  # pyright: ignore[reportCallIssue]
    return np.float32(0) if x < _SMALLEST else power


@njit(nogil=True, forceinline=True)
def _largest(z):
    largest = z[0]
    for i in range(1, len(z)):
        largest = z[i] if z[i] > largest else largest
    return largest


@njit(nogil=True, forceinline=True)
def _block_maxima(z, maxima):
    for block in range(len(maxima)):
        maxima[block] = _largest(z[block * _BLOCK : (block + 1) * _BLOCK])


@njit(nogil=True, forceinline=True)
def _find_top(z, maxima, values, ids):
    """Fill in the largest logits, largest first, ties by lower index: insertion, block by block.

    Only blocks whose maximum beats the smallest value so far are looked into.
    """
    found, k = 0, len(values)
    for block in range(len(maxima)):
        if found == k and not maxima[block] > values[k - 1]:
            continue
        for i in range(block * _BLOCK, min((block + 1) * _BLOCK, len(z))):
            if found == k and not z[i] > values[k - 1]:
                continue
            slot = found if found < k else k - 1
            while slot > 0 and z[i] > values[slot - 1]:
                values[slot], ids[slot] = values[slot - 1], ids[slot - 1]
                slot -= 1
            values[slot], ids[slot] = z[i], i
            found = min(found + 1, k)


@njit(nogil=True, forceinline=True)
def _prepare(z, shifted, probs):
    """Fill in the reference's logits, shifted by their maximum, and its probabilities; return log Σ exp."""
    largest = _largest(z)
    total = 0.0
    for start in range(0, len(z), _PIECE):
        stop = start + _PIECE
        total += _prepare_piece(z[start:stop], largest, shifted[start:stop], probs[start:stop])
    scale = np.float32(1 / total)
    for i in range(len(z)):
        probs[i] *= scale
    return math.log(total)


@njit(nogil=True, forceinline=True, fastmath=REASSOCIATED)
def _prepare_piece(z, largest, shifted, exps):
    total = np.float32(0)
    for i in range(len(z)):
        s = z[i] - largest
        e = _exp(s)
        shifted[i], exps[i] = s, e
        total += e
    return total


@njit(nogil=True, forceinline=True)
def _sums(z, largest, reference, q, p):
    """Return Σ e^s, Σ e^s·s, Σ e^s·(s − r) and Σ q·(r − s) for s = z − max z; fill in p = e^s."""
    total = expected = gap_to = gap_from = 0.0
    for start in range(0, len(z), _PIECE):
        stop = start + _PIECE
        a, b, c, d = _sums_of_piece(z[start:stop], largest, reference[start:stop], q[start:stop], p[start:stop])
        total += a
        expected += b
        gap_to += c
        gap_from += d
    return total, expected, gap_to, gap_from


@njit(nogil=True, forceinline=True, fastmath=REASSOCIATED)
def _sums_of_piece(z, largest, reference, q, p):
    total = expected = gap_to = gap_from = np.float32(0)
    for i in range(len(z)):
        s = z[i] - largest
        e = _exp(s)
        p[i] = e
        gap = s - reference[i]
        # What has no probability counts for nothing, be its logit −∞. Factors are chosen, not
        # products: a sum of chosen products is not turned into vectors.
        total += e
        expected += e * (s if e > 0 else np.float32(0))
        gap_to += e * (gap if e > 0 else np.float32(0))
        gap_from -= q[i] * (gap if q[i] > 0 else np.float32(0))
    return total, expected, gap_to, gap_from


@njit(nogil=True, forceinline=True)
def _half_distance(p, scale, q):
    """Return ½ Σ |p·scale − q|."""
    distance = 0.0
    for start in range(0, len(p), _PIECE):
        distance += _distance_of_piece(p[start : start + _PIECE], scale, q[start : start + _PIECE])
    return distance / 2


@njit(nogil=True, forceinline=True, fastmath=REASSOCIATED)
def _distance_of_piece(p, scale, q):
    distance = np.float32(0)
    for i in range(len(p)):
        distance += abs(p[i] * scale - q[i])
    return distance


@njit(nogil=True, forceinline=True)
def _kl_from(base, z, largest, log_total):
    """Return KL(P_base ‖ P_z) in bits."""
    largest_of_base = _largest(base)
    total = gap = 0.0
    for start in range(0, len(z), _PIECE):
        stop = start + _PIECE
        a, b = _gap_of_piece(base[start:stop], largest_of_base, z[start:stop], largest)
        total += a
        gap += b
    return _bits(gap / total - math.log(total) + log_total)


@njit(nogil=True, forceinline=True, fastmath=REASSOCIATED)
def _gap_of_piece(base, largest_of_base, z, largest):
    total = gap = np.float32(0)
    for i in range(len(base)):
        s = base[i] - largest_of_base
        e = _exp(s)
        difference = s - (z[i] - largest)
        total += e
        gap += e * (difference if e > 0 else np.float32(0))
    return total, gap


@njit(nogil=True, forceinline=True)
def _total_at(z, largest, coldness):
    """Return Σ e^(s·coldness), coldness being one over the temperature."""
    total = 0.0
    for start in range(0, len(z), _PIECE):
        total += _total_of_piece(z[start : start + _PIECE], largest, coldness)
    return total


@njit(nogil=True, forceinline=True, fastmath=REASSOCIATED)
def _total_of_piece(z, largest, coldness):
    total = np.float32(0)
    for i in range(len(z)):
        total += _exp((z[i] - largest) * coldness)
    return total


@njit(nogil=True, forceinline=True)
def _compare(z, bound):
    """Return how many logits are larger than `bound`, and how many equal it."""
    larger, equal = 0, 0
    for start in range(0, len(z), _PIECE):
        a, b = _compare_piece(z[start : start + _PIECE], bound)
        larger += a
        equal += b
    return larger, equal


@njit(nogil=True, forceinline=True)
def _compare_piece(z, bound):
    larger, equal = np.int32(0), np.int32(0)
    for i in range(len(z)):
        larger += np.int32(z[i] > bound)
        equal += np.int32(z[i] == bound)
    return larger, equal


@njit(nogil=True, forceinline=True)
def _bits(nats):
    """Return bits, at least 0: rounding can leave a small negative number (NaN stays)."""
    return 0.0 if nats < 0 else nats * BITS
