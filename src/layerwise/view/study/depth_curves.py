"""Curves by depth for the dataset view: a measure's median over items at every layer, with its interval."""

from collections.abc import Iterator
from typing import Any

from layerwise.analysis.cases import Cases
from layerwise.analysis.curves import by_depth
from layerwise.analysis.overview import Overview

MEASURES = ("answer_prob", "entropy_bits", "kl_from_final_bits", "kl_to_final_bits")
"""The deciding token's probability first, which the report draws too."""


def curves_of(overview: Overview) -> list[dict[str, Any]]:
    """Return, per model, set and measure, the median over items of known answers by depth (docs/view-format.md)."""
    return [curve for cases in overview.main for curve in _of_model(cases.known)]


def _of_model(known: Cases) -> Iterator[dict[str, Any]]:
    for (set_name,), some in known.by("set"):
        for measure in MEASURES:
            points = list(by_depth(some, measure))
            ends = {name: [getattr(point, name) for point in points] for name in ("depth", "value", "low", "high")}
            yield {"model": known.model, "set": set_name, "measure": measure, "n": points[0].n, **ends}
