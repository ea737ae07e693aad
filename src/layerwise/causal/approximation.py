"""How far an approximate grid is from the exact one, on cells of it that were run."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

MIN_EXACT = 8
"""Fewer cells say nothing of how two grids agree."""

_CORRELATED = 0.9
_OFF = 0.05
"""An approximation is bad below this correlation with exact cells, or above this mean error in recovery."""

_HAS_A_SIGN = 0.01
"""Recoveries closer to 0 are neither above nor below it."""


@dataclass(frozen=True, eq=False)
class Approximation:
    """A sample of an approximate grid's cells, beside what they are when they are run.

    Half are those in which most happens by the approximation, and half are drawn from the rest and stand for it. What
    happens in a grid mostly happens in a few cells: without these, 32 of smollm2-135m's `mlp_out` cells correlated at
    1.00, and all 60 at .70.
    """

    cells: tuple[tuple[int, int], ...]
    """Row and column of each, in the grid."""
    of: int
    """How many cells the grid has that change something."""
    stands_for: Float[np.ndarray, " cell"]
    """How many cells each one counts as."""
    approximate: Float[np.ndarray, " cell"]
    """Recovery, as the grid has it."""
    exact: Float[np.ndarray, " cell"]
    """Recovery, as it is."""

    @property
    def correlation(self) -> float:
        """Pearson's; NaN where either side's cells are all alike."""
        return _correlation(self.approximate, self.exact, self.stands_for)

    @property
    def rank_correlation(self) -> float:
        """Spearman's."""
        weights = self.stands_for
        return _correlation(_ranks(self.approximate, weights), _ranks(self.exact, weights), weights)

    @property
    def mean_error(self) -> float:
        """Mean of |approximate − exact|, in units of recovery."""
        return float(np.average(np.abs(self.approximate - self.exact), weights=self.stands_for))

    @property
    def same_sign(self) -> float:
        """In what share of those cells that recover at least .01, or take as much away, the sign is right."""
        some = np.abs(self.exact) >= _HAS_A_SIGN
        same = np.sign(self.approximate) == np.sign(self.exact)
        return float(np.average(same[some], weights=self.stands_for[some])) if some.any() else np.nan

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the exact grid should be run instead, where it should."""
        if not (self.correlation < _CORRELATED or self.mean_error > _OFF):
            return ()
        return (
            f"the approximation is bad: correlation with exact cells {_number(self.correlation)}, mean error "
            f"{self.mean_error:.3f} of recovery (bad is below {_CORRELATED:g}, or above {_OFF:g}). Run the exact grid.",
        )

    @property
    def figures(self) -> dict[str, float]:
        """All of them by name."""
        return {name: getattr(self, name) for name in ("correlation", "rank_correlation", "mean_error", "same_sign")}

    @property
    def lines(self) -> tuple[str, ...]:
        """Say how far off it is."""
        ran = f"all {self.of}" if len(self.cells) == self.of else f"{len(self.cells)} of {self.of}"
        return (
            f"attribution patching, beside {ran} exact cells:",
            f"correlation {_number(self.correlation)} (ranks {_number(self.rank_correlation)}), "
            f"mean error {self.mean_error:.3f},",
            f"sign right in {_percent(self.same_sign)}",
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "method": "attribution patching",
            "cells": [list(cell) for cell in self.cells],
            "of": self.of,
            "stands_for": self.stands_for.tolist(),
            "approximate": self.approximate.tolist(),
            "exact": self.exact.tolist(),
            **{name: None if np.isnan(value) else value for name, value in self.figures.items()},
        }


def _correlation(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> float:
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return np.nan
    moments = np.cov(first, second, aweights=weights)
    return float(moments[0, 1] / np.sqrt(moments[0, 0] * moments[1, 1]))


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return how many cells are below each, and half of those that are like it."""
    return (values < values[:, None]) @ weights + (values == values[:, None]) @ weights / 2


def _number(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.2f}"


def _percent(value: float) -> str:
    return "none, as none recovers anything" if np.isnan(value) else f"{100 * value:.0f} %"
