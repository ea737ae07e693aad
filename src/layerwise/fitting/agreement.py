"""How far two halves of the text agree: the error of a lens that was fitted on both."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from layerwise.fitting.held_out import HeldOut
from layerwise.lens_spec import method_spec
from layerwise.lenses.fitted import FittedLens, Translator


@dataclass(frozen=True)
class Agreement:
    """Of two lenses, each fitted on documents of its own; by layer."""

    windows: tuple[int, int]
    """That each was fitted on."""
    top1: list[float]
    """Share of held-out positions where both say the same likeliest token."""
    matrices: list[float]
    """|A₁ − A₂| / |½ (A₁ + A₂)|, in Frobenius' norm."""

    @property
    def share(self) -> float:
        """The median of `top1` over layers: what `until` is compared with."""
        return median(self.top1)

    def described(self) -> dict[str, Any]:
        """Return what a lens's card says.

        A lens fitted on both is off by half of what they differ by, as the mean of two independent estimates is.
        """
        return {
            "windows": list(self.windows),
            "top1_agreement": [round(v, 5) for v in self.top1],
            "matrix_difference": [round(v, 6) for v in self.matrices],
            "matrix_error": [round(v / 2, 6) for v in self.matrices],
        }


def agreement(
    method: str,
    first: Mapping[int, Translator],
    second: Mapping[int, Translator],
    held_out: HeldOut,
    windows: tuple[int, int],
) -> Agreement:
    """Return how far the lenses of two halves agree."""
    spec, layers = method_spec(method), sorted(first)
    differences = []
    for layer in layers:
        one, other = first[layer].matrix.double(), second[layer].matrix.double()
        differences.append(float((one - other).norm() / ((one + other) / 2).norm().clamp_min(1e-300)))
    return Agreement(
        windows, held_out.agreement(FittedLens(spec, first), FittedLens(spec, second), layers), differences
    )
