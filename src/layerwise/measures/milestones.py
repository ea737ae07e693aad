"""Milestones: the layer at which something about a prediction first, or finally, holds."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Curve = np.ndarray
"""One value per layer, 0 to n."""


@dataclass(frozen=True)
class Milestones:
    """Layers (blocks done), or None for never. *Settled* means from there to the last layer."""

    settled_top1: int | None = None
    """The answer has rank 1 from here to the output. None too where no answer was given."""
    first_top1: int | None = None
    """The answer has rank 1 for the first time; one-layer blips count."""
    first_p50: int | None = None
    """The answer's probability exceeds .5 for the first time."""
    first_p95: int | None = None
    settled_kl_1bit: int | None = None
    """KL(output ‖ layer) stays within one bit."""
    copy: int | None = None
    """The first layer whose likeliest token stands in the prompt and has more than .95."""
    half_entropy: int | None = None
    """Entropy stays at or below half of layer 1's."""


def find_milestones(
    *,
    entropy_bits: Curve,
    kl_from_final_bits: Curve,
    top_id: Curve,
    top_prob: Curve,
    prompt_ids: frozenset[int],
    answer_prob: Curve | None = None,
    answer_rank: Curve | None = None,
) -> Milestones:
    """Return the milestones of one position's curves."""
    in_prompt = np.isin(top_id, sorted(prompt_ids))
    found = {
        "settled_kl_1bit": settled(kl_from_final_bits <= 1),
        "copy": first(in_prompt & (top_prob > 0.95)),
        "half_entropy": settled(entropy_bits <= entropy_bits[1] / 2),
    }
    if answer_prob is not None and answer_rank is not None:
        found |= {
            "settled_top1": settled(answer_rank == 1),
            "first_top1": first(answer_rank == 1),
            "first_p50": first(answer_prob > 0.5),
            "first_p95": first(answer_prob > 0.95),
        }
    return Milestones(**found)


def first(holds: Curve) -> int | None:
    """Return the first layer at which `holds` is true, or None."""
    layers = np.flatnonzero(holds)
    return int(layers[0]) if len(layers) else None


def settled(holds: Curve) -> int | None:
    """Return the layer from which `holds` is true to the end, or None if it is false at the end."""
    breaks = np.flatnonzero(~np.asarray(holds, dtype=bool))
    start = int(breaks[-1]) + 1 if len(breaks) else 0
    return start if start < len(holds) else None


def stretches(values: Curve) -> list[tuple[int, int, int]]:
    """Return (value, first layer, last layer) for every run of equal neighbouring values."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return [(int(values[a]), a, b - 1) for a, b in pairwise(edges)]
