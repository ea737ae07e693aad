"""The figures of a report about question sets, from the run's numbers."""

import math
from typing import Any

import pandas as pd

from layerwise import charts
from layerwise.analysis.overview import Overview
from layerwise.charts import AnyChart
from layerwise.measures.uncertainty import Estimate
from layerwise.text import one_line

_COLUMNS = 3
"""Panels side by side."""

_ROOM = 640
"""Width of all panels of a row, in pixels."""


def study_charts(overview: Overview) -> dict[str, AnyChart]:
    """Return the charts of a report by name, those that the run has numbers for."""
    drawn: dict[str, AnyChart] = {}
    if len(overview.by_depth):
        drawn["answer-by-depth"] = _by_depth(overview.by_depth)
    drawn |= _intervals(
        "known",
        [(_row_name(cell.set, cell.direction), cell.model, cell.known) for cell in overview.cells],
        y="cell",
        x_title="share of questions whose answer is known",
        title="What the models know",
        x_domain=(0, 1),
    )
    drawn |= _intervals(
        "settled",
        [(_row_name(cell.set, cell.direction), cell.model, cell.depths["settled_top1"]) for cell in overview.cells],
        y="cell",
        x_title="depth at which known answers settle",
        title="Who settles when",
        x_domain=(0, 1.1),
    )
    gaps = [(one_line(gap.set), gap.model, gap.gap) for gap in overview.gaps if gap.lens == overview.lens]
    drawn |= _intervals(
        "calibration-gap",
        gaps,
        y="set",
        x_title="inner minus final probability of the answer",
        title="Is an inner layer more certain than the output?",
        x_domain=_around_zero([found for *_, found in gaps if found]),
        zero_line=True,
    )
    if overview.fits:
        fitted = pd.DataFrame([vars(fit) | {"model": one_line(fit.model)} for fit in overview.fits])
        drawn["temperature"] = charts.lines(
            fitted,
            x="depth",
            y="temperature",
            colour="model",
            x_title="depth",
            y_title="temperature",
            title="Temperature that best maps a layer to the output, fitted on other items",
        )
    return drawn


def _intervals(
    name: str,
    rows: list[tuple[str, str, Estimate | None]],
    *,
    y: str,
    x_title: str,
    title: str,
    x_domain: tuple[float, float],
    zero_line: bool = False,
) -> dict[str, AnyChart]:
    """Return a chart by its name, of (row, model, estimate) that could be estimated; nothing where none could."""
    ends = ("value", "low", "high")
    shown = [
        {y: row, "model": one_line(model), "n": found.n, **{end: getattr(found, end) for end in ends}}
        for row, model, found in rows
        if found
    ]
    if not shown:
        return {}
    chart = charts.intervals(
        pd.DataFrame(shown),
        y=y,
        colour="model",
        x_title=x_title,
        title=title,
        x_domain=x_domain,
        zero_line=zero_line,
    )
    return {name: chart}


def _row_name(set_name: str, direction: str) -> str:
    return one_line(f"{set_name}: {direction}" if direction else set_name)


def _by_depth(points: pd.DataFrame) -> AnyChart:
    """Return the answer's probability by depth, a panel per set; few panels take the room of many."""
    named = points.assign(**{name: points[name].map(one_line) for name in ("set", "model")})
    panels = min(_COLUMNS, len(set(named["set"])))
    room: dict[str, Any] = {} if panels == _COLUMNS else {"size": (_ROOM // panels, 220)}
    return charts.bands(
        named,
        facet="set",
        colour="model",
        x_title="depth",
        y_title="p(answer)",
        title="Probability of known answers by depth: median over items, 95 % interval",
        columns=panels,
        **room,
    )


def _around_zero(found: list[Estimate]) -> tuple[float, float]:
    """Return a range in whole fifths, at which the axis has its labels, that holds all intervals and 0."""
    low, high = min([0.0, *(each.low for each in found)]), max([0.0, *(each.high for each in found)])
    return min(-0.2, math.floor(5 * low) / 5), max(0.2, math.ceil(5 * high) / 5)
