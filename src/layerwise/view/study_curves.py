"""Curves by depth for the dataset view: a measure's median over items at every layer, with its interval."""

from collections.abc import Iterator
from typing import Any

from layerwise.analysis.cases import Cases
from layerwise.analysis.judging import SEED
from layerwise.measures.statistics import estimate, per_item
from layerwise.report.overview import Overview

MEASURES = ("answer_prob", "entropy_bits", "kl_from_final_bits", "kl_to_final_bits")
"""The deciding token's probability first, which the report draws too."""


def curves_of(overview: Overview) -> list[dict[str, Any]]:
    """Return, per model, set and measure, the median over items of known answers by depth (docs/view-format.md)."""
    return [curve for cases in overview.main for curve in _of_model(cases.known)]


def _of_model(known: Cases) -> Iterator[dict[str, Any]]:
    for set_name in dict.fromkeys(known.rows["set"]):
        some = known.of(set=set_name)
        for measure in MEASURES:
            points = [_point(some, measure, layer) for layer in range(known.n_layers + 1)]
            yield {
                "model": known.model,
                "set": set_name,
                "measure": measure,
                "n": len(set(some.items)),
                "depth": [layer / known.n_layers for layer in range(known.n_layers + 1)],
                "value": [value for value, _, _ in points],
                "low": [low for _, low, _ in points],
                "high": [high for _, _, high in points],
            }


def _point(some: Cases, measure: str, layer: int) -> tuple[float | None, float | None, float | None]:
    values = per_item(some.curves[measure][:, layer], some.items).values
    found = estimate(values, "median", seed=SEED, resamples=500)
    return (found.value, found.low, found.high) if found else (None, None, None)
