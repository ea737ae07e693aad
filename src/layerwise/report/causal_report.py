"""The report on causal tracing: Markdown, figures, one HTML file, and every pair's numbers."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from layerwise import charts
from layerwise.causal.traced import BETWEEN, KINDS, LAST, ROLES, SUBJECT_LAST, CausalTracing
from layerwise.charts import AnyChart
from layerwise.report.escaping import plain, prose
from layerwise.report.folder import begin_report, slug, write_numbers, write_report
from layerwise.report.rendering import environment, interval
from layerwise.text import one_line

TITLE = "Causal tracing"

_SHOWN = (SUBJECT_LAST, BETWEEN, LAST)
"""Roles that nearly every prompt has."""

_DIGITS = 4
"""Of recoveries in the stored numbers."""


def write_causal_report(
    found: Sequence[CausalTracing], folder: Path, *, title: str = TITLE, description: str = ""
) -> Path:
    """Write report.md, report.html, figures/ and causal_tracing.json into a folder; return report.md's path.

    Args:
        found: at least one, of a model and direction each.
        folder: where to.
        title: of the report.
        description: what stands below it.

    Raises:
        StoreError: the folder cannot be written.
    """
    figures: dict[str, AnyChart] = {}
    pictures: list[dict[str, str]] = []
    for each in found:
        made = _figures(each)
        stem = slug(one_line(each.model.name), each.name, each.direction).lower()
        pictures.append({name: f"figures/{stem}-{name}.png" for name in made})
        figures |= {pictures[-1][name]: chart for name, chart in made.items()}
    made_with = environment()
    made_with.filters |= {
        "points": lambda estimate: interval(estimate, 100, ".0f"),
        "layer": lambda e: interval(e, 1, "g"),
    }
    text = made_with.get_template("causal.md.j2").render(
        found=[*zip(found, pictures, strict=True)],
        title=plain(one_line(title)),
        description=prose(description.strip()),
        kinds=KINDS,
        roles=_SHOWN,
        versions=found[0].versions,
    )
    begin_report(folder)
    write_numbers(folder, "causal_tracing.json", [_as_json(each) for each in found])
    return write_report(folder, text, figures, title)


def _figures(found: CausalTracing) -> dict[str, AnyChart]:
    name = f"{one_line(found.model.name)}, {one_line(found.name)}, {found.direction}"
    rows: list[dict[str, Any]] = []
    for kind in KINDS[:3]:
        for role in _SHOWN:
            for block, at in zip(found.blocks[kind], found.by_block(kind, role), strict=True):
                if at:
                    depth = block / found.model.n_layers
                    rows.append(
                        {"depth": depth, "value": at.value, "low": at.low, "high": at.high, "n": at.n}
                        | {"kind": kind, "role": role}
                    )
    frame = pd.DataFrame(rows).assign(low=lambda each: each["low"].clip(-0.5, 1.5))
    by_kind = charts.bands(
        frame.assign(high=frame["high"].clip(-0.5, 1.5)),
        facet="kind",
        colour="role",
        x_title="depth (block / n)",
        y_title="recovery",
        title=f"{name}: what a patch brings back",
    )
    means = np.nanmean(found.recovery["z"], axis=0)
    heads = pd.DataFrame(
        [
            {"block": found.blocks["z"][row], "head": str(head), "recovery": value, "reached": True}
            for (row, head), value in np.ndenumerate(means)
        ]
    )
    of_heads = charts.heatmap(
        heads,
        x="head",
        y="block",
        value="recovery",
        x_title="head",
        y_title="block",
        value_title="mean recovery",
        title=f"{name}: one head at a time",
    )
    return {"positions": by_kind, "heads": of_heads}


def _as_json(found: CausalTracing) -> dict[str, Any]:
    def numbers(by_kind: dict[str, np.ndarray]) -> dict[str, Any]:
        return {kind: _rounded(values) for kind, values in by_kind.items()}

    return {
        "model": asdict(found.model),
        "name": found.name,
        "direction": found.direction,
        "asked": found.asked,
        "known": found.known,
        "pairs": [asdict(pair) for pair in found.pairs],
        "skipped": found.skipped,
        "roles": list(ROLES),
        "blocks": found.blocks,
        "recovery": numbers(found.recovery),
        "placebo": numbers(found.placebo),
        "seed": found.seed,
        "versions": found.versions,
    }


def _rounded(values: np.ndarray) -> list[Any]:
    return [
        [[None if np.isnan(value) else round(float(value), _DIGITS) for value in row] for row in pair]
        for pair in values
    ]
