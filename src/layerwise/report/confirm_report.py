"""The report on confirmations: Markdown, figures, one HTML file, and every question's numbers."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from layerwise import charts
from layerwise.causal.confirmed import EXCHANGE, FEWEST, KINDS, MARGIN, PLACEBOS, Confirmation, LensConfirmation
from layerwise.charts import AnyChart
from layerwise.lens_spec import caveat_of
from layerwise.report.escaping import plain, prose
from layerwise.report.folder import begin_report, slug, write_numbers, write_report
from layerwise.report.rendering import environment, interval
from layerwise.text import one_line

TITLE = "Does what a lens reads drive the output?"

_BESIDE = 6
"""Layers before and after the readable one that are drawn."""

_DIGITS = 4
"""Of recoveries in the stored numbers."""


def write_confirm_report(
    found: Sequence[Confirmation], folder: Path, *, title: str = TITLE, description: str = ""
) -> Path:
    """Write report.md, report.html, figures/ and confirmation.json into a folder; return report.md's path.

    Args:
        found: at least one, of a model and of questions each.
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
        stem = slug(one_line(each.model.name), each.name).lower()
        pictures.append({name: f"figures/{stem}-{name}.png" for name in made})
        figures |= {pictures[-1][name]: chart for name, chart in made.items()}
    made_with = environment()
    made_with.filters |= {
        "points": lambda estimate: interval(estimate, 100, ".0f"),
        "layers": lambda estimate: interval(estimate, 1, "g"),
        "round2": lambda value: "–" if np.isnan(value) else f"{value:.2f}",
    }
    read = dict.fromkeys(lens.lens for each in found for lens in each.lenses)
    text = made_with.get_template("confirm.md.j2").render(
        found=[*zip(found, pictures, strict=True)],
        title=plain(one_line(title)),
        description=prose(description.strip()),
        exchange=EXCHANGE,
        placebos=PLACEBOS,
        margin=MARGIN,
        fewest=FEWEST,
        milestones=[*dict.fromkeys(each.milestone for each in found)],
        caveats=[caveat for name in read if (caveat := caveat_of(name))],
        versions=found[0].versions,
    )
    begin_report(folder)
    write_numbers(folder, "confirmation.json", [as_json(each) for each in found])
    return write_report(folder, text, figures, title)


def _figures(found: Confirmation) -> dict[str, AnyChart]:
    name = f"{one_line(found.model.name)}, {one_line(found.name)}"
    by_depth = [
        _row(found, lens, kind, found.estimate(lens.recovery[kind][:, at]), (at + 1) / found.model.n_layers)
        for lens in found.lenses
        for kind in KINDS
        for at in range(found.model.n_layers - 1)
    ]
    beside = [
        _row(found, lens, kind, found.effect(lens, kind, offset), float(offset))
        for lens in found.lenses
        for kind in KINDS
        for offset in range(-_BESIDE, _BESIDE + 1)
    ]
    made: dict[str, AnyChart] = {}
    for stem, rows, x_title, about in (
        ("depth", by_depth, "depth (layer / n)", "what an exchange of two answers brings"),
        ("readable", beside, "layers after the one at which the lens reads the answer", "there and around it"),
    ):
        there = [row for row in rows if row]
        if there:
            made[stem] = charts.bands(
                pd.DataFrame(there),
                facet="lens",
                colour="kind",
                x_title=x_title,
                y_title="recovery",
                title=f"{name}: {about}",
                columns=2,
                size=(260, 150),
            )
    return made


def _row(found: Confirmation, lens: LensConfirmation, kind: str, at: Any, depth: float) -> dict[str, Any] | None:
    if at is None:
        return None
    low, high = np.clip([at.low, at.high], -0.5, 1.5)
    shown = {"depth": depth, "value": at.value, "low": low, "high": high, "n": at.n}
    return shown | {"lens": one_line(lens.lens), "kind": kind}


def as_json(found: Confirmation) -> dict[str, Any]:
    """Return everything as plain values."""
    return {
        "model": asdict(found.model),
        "name": found.name,
        "milestone": found.milestone,
        "asked": found.asked,
        "known": found.known,
        "pairs": [asdict(pair) for pair in found.pairs],
        "skipped": found.skipped,
        "lenses": [
            {
                "lens": lens.lens,
                "sum": lens.sum,
                "readable": list(lens.readable),
                "recovery": {kind: _plain(values) for kind, values in lens.recovery.items()},
                "follows": lens.follows.tolist(),
                "verdict": found.verdict(lens),
            }
            for lens in found.lenses
        ],
        "patched": _plain(found.patched),
        "seed": found.seed,
        "versions": found.versions,
    }


def _plain(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(value) else round(float(value), _DIGITS) for value in row] for row in values]
