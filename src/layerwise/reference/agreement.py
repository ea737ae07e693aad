"""When a published number and ours count as the same.

The published figures are float32 ones: on the prompt that two of the published runs share, their outputs
differ by at most 2.3e-4 in log-odds, and on another the last layers' entropies by 2.2e-4 bits. A run in half
precision is further off for reasons that have nothing to do with the method. How far was measured with
gemma-3-270m and smollm2-135m on the seed and its three probe prompts, five likeliest tokens, every layer,
against float32:

====================  ========================  ===========  =========
largest difference    log-odds                  probability  entropy
====================  ========================  ===========  =========
smollm2, float16      .042 (99 %: .024)         .0055        .021 bits
smollm2, bfloat16     .230 (99 %: .169)         .0404        .241 bits
gemma-3, bfloat16     .565 (99 %: .346)         .0408        .178 bits
====================  ========================  ===========  =========

Ranks up to 20 moved by one at most, and one top token in 200 changed places with one as likely to within 2 %.
(gemma-3 overflows in float16.) A probability must pass in log-odds and in itself: log-odds alone would let
half differ from .65, and a plain difference would let .008 pass for 0.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

ROUNDING = 5e-7
"""Half a unit of the sixth decimal, with which probabilities were published."""


@dataclass(frozen=True)
class Tolerance:
    """How far off a number may be."""

    name: str
    log_odds: float
    prob: float
    bits: float
    ranks: int

    def in_prob(self, temperature: float = 1.0) -> str:
        """Return the tolerance on probabilities, in words; see `probs_agree` for the temperature."""
        prob, odds = self.prob / temperature, math.expm1(self.log_odds / temperature)
        return f"{self.name}: {prob:g} and odds within {odds:.0%}"

    def in_bits(self) -> str:
        """Return the tolerance on entropies, in words."""
        return f"{self.name}: {self.bits:g} bits"

    def in_ranks(self) -> str:
        """Return the tolerance on ranks, in words."""
        return f"{self.name}: {f'{self.ranks} place' if self.ranks else 'same rank'}"

    def in_order(self) -> str:
        """Return the tolerance on which of two tokens is likelier, in words."""
        return f"{self.name}: same, or as likely to within {math.expm1(self.log_odds):.0%}"

    def in_layers(self) -> str:
        """Return the tolerance on the layer at which something first holds, in words."""
        return f"{self.name}: same layer, or odds within {math.expm1(self.log_odds):.0%} of the turn"


FLOAT32 = Tolerance("float32", log_odds=0.01, prob=0.0025, bits=0.01, ranks=0)
FLOAT16 = Tolerance("float16", log_odds=0.05, prob=0.006, bits=0.025, ranks=0)
BFLOAT16 = Tolerance("bfloat16", log_odds=0.6, prob=0.05, bits=0.25, ranks=1)
TOLERANCES = (FLOAT32, FLOAT16, BFLOAT16)
"""Tightest first."""


def tightest(holds: Callable[[Tolerance], bool], allowed: Sequence[Tolerance] = TOLERANCES) -> Tolerance | None:
    """Return the tightest of the `allowed` tolerances within which `holds`, or None."""
    return next((each for each in allowed if holds(each)), None)


def up_to(*dtypes: str | None) -> tuple[Tolerance, ...]:
    """Return the tolerances that may be asked of numbers in these dtypes; all where a dtype is unknown."""
    names = [each.name for each in TOLERANCES]
    loosest = max(names.index(d) if d in names else len(names) - 1 for d in dtypes)
    return TOLERANCES[: loosest + 1]


def probs_agree(published: float, ours: float, within: Tolerance, temperature: float = 1.0) -> bool:
    """Return whether two probabilities agree, allowing for the decimals with which one was published.

    At a temperature T differences of logits grow by 1/T, and the tolerance with them.
    """
    nearest = min(max(ours, published - ROUNDING), published + ROUNDING)
    if ours == nearest:
        return True
    apart = abs(log_odds(ours) - log_odds(nearest))
    return apart * temperature <= within.log_odds and abs(ours - nearest) * temperature <= within.prob


def log_odds(prob: float) -> float:
    """Return log(p / (1 − p)), with 0 and 1 taken as 1e-12 away from themselves."""
    clipped = min(max(prob, 1e-12), 1 - 1e-12)
    return math.log(clipped) - math.log1p(-clipped)


def first_agrees(published: int, excess: dict[int, float], within: Tolerance) -> bool:
    """Return whether something could first have held at layer `published`, within the tolerance.

    `excess` says per layer by how much it holds (above 0) or fails, in log-odds. It may not hold clearly
    any earlier, and must hold within the tolerance there.
    """
    clearly_earlier = any(value > within.log_odds for layer, value in excess.items() if layer < published)
    return not clearly_earlier and excess.get(published, -math.inf) > -within.log_odds


def first_layer(excess: dict[int, float]) -> int | None:
    """Return the first layer at which the excess is above 0, or None."""
    return next((layer for layer in sorted(excess) if excess[layer] > 0), None)
