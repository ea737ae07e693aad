"""Curves over layers with their intervals, for charts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from layerwise.analysis.cases import Cases
from layerwise.analysis.judging import SEED
from layerwise.measures.calibration import folds, held_out_temperature, kl_at_temperatures
from layerwise.measures.uncertainty import estimate, per_item


@dataclass(frozen=True)
class Point:
    """A curve at one layer."""

    model: str
    set: str
    layer: int
    depth: float
    value: float
    low: float
    high: float
    n: int
    """Items."""


def answer_prob_by_depth(cases: Cases) -> Iterator[Point]:
    """Yield, per set and layer, the median over items of the deciding token's probability, of known answers."""
    return by_depth(cases, "answer_prob")


def by_depth(cases: Cases, measure: str) -> Iterator[Point]:
    """Yield, per set and layer, the median over items of one of the cases' curves, of known answers."""
    for (set_name,), some in cases.known.by("set"):
        for layer in range(cases.n_layers + 1):
            values = per_item(some.curves[measure][:, layer], some.items).values
            if found := estimate(values, "median", seed=SEED, resamples=500):
                depth = layer / cases.n_layers
                yield Point(cases.model, set_name, layer, depth, found.value, found.low, found.high, found.n)


@dataclass(frozen=True)
class Fit:
    """How far one temperature brings a layer to the output."""

    model: str
    layer: int
    depth: float
    temperature: float
    """Fitted on other items; the median over folds."""
    kl_before: float
    """KL(output ‖ layer) in bits: median over questions, held out."""
    kl_after: float


def temperature_fits(cases: Cases) -> list[Fit]:
    """Return the held-out temperature of every layer, where the study asked for several temperatures and 1."""
    if cases.lse is None or 1.0 not in cases.temperatures or len(cases.temperatures) < 2 or not len(cases):
        return []
    grid = np.array(cases.temperatures)
    kl = kl_at_temperatures(cases.curves["kl_from_final_bits"], cases.curves["entropy_bits"][:, -1], cases.lse, grid)
    fit = held_out_temperature(kl, grid, folds(cases.items))
    if fit is None:
        return []
    return [
        Fit(
            cases.model,
            layer,
            layer / cases.n_layers,
            float(np.median(fit.temperature[:, layer])),
            float(np.median(fit.kl_before[:, layer])),
            float(np.median(fit.kl_after[:, layer])),
        )
        for layer in range(cases.n_layers + 1)
    ]
