"""The report on lenses that were evaluated side by side: Markdown, figures, and one HTML file."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from layerwise import charts
from layerwise.charts import AnyChart
from layerwise.evaluation.evaluated import OTHER, READABLE, Evaluation
from layerwise.lens_spec import METHODS
from layerwise.measures.uncertainty import Estimate
from layerwise.report.escaping import plain, prose
from layerwise.report.folder import begin_report, slug, write_numbers, write_report
from layerwise.report.rendering import environment, interval
from layerwise.text import one_line

TITLE = "Lenses side by side"


def write_lens_report(
    evaluations: Sequence[Evaluation], folder: Path, *, title: str = TITLE, description: str = "", k: int = READABLE
) -> Path:
    """Write report.md, report.html, figures/ and evaluation.json into a folder; return report.md's path.

    Args:
        evaluations: at least one, of a model each.
        folder: where to.
        title: of the report.
        description: what stands below it.
        k: the largest rank at which a word is readable.

    Raises:
        StoreError: the folder cannot be written.
    """
    begin_report(folder)
    write_evaluations(evaluations, folder)
    drawn = {each.model: _figures(each, k) for each in evaluations}
    paths = {model: {name: f"figures/{slug(model, name)}.png" for name in made} for model, made in drawn.items()}
    text = _report(evaluations, paths, title, description, k)
    by_picture = {paths[model][name]: chart for model, made in drawn.items() for name, chart in made.items()}
    return write_report(folder, text, by_picture, title)


def write_evaluations(evaluations: Sequence[Evaluation], folder: Path) -> None:
    """Write all that was read, as numbers, to evaluation.json. Raises StoreError."""
    write_numbers(folder, "evaluation.json", [_as_json(each) for each in evaluations])


def _report(
    evaluations: Sequence[Evaluation], paths: dict[str, dict[str, str]], title: str, description: str, k: int
) -> str:
    made = environment()
    made.filters |= {
        "points": lambda found: interval(found, 100, ".0f"),
        "first": first_layer,
        "median": statistics.median,
        "round2": lambda value: f"{value:.2f}",
        "share": lambda value: f"{value:.0%}",
    }
    made.globals["told_by"] = _told_by
    methods = {lens.method for each in evaluations for lens in each.lenses if lens.method}
    caveats = [(spec.name, f"{spec.reads}; {spec.caveat}") for spec in METHODS.values() if spec.name in methods]
    return made.get_template("lenses.md.j2").render(
        evaluations=evaluations,
        figures=paths,
        title=plain(one_line(title)),
        description=prose(description.strip()),
        caveats=caveats,
        k=k,
        other=OTHER,
        versions=evaluations[0].versions,
    )


def first_layer(found: Estimate | None, n_layers: int) -> str:
    """Return a median of first layers; one beyond layer n is never reached: ``24 [21, never]``."""
    if found is None:
        return "–"
    value, low, high = ("never" if each > n_layers else f"{each:g}" for each in (found.value, found.low, found.high))
    return f"{value}\u00a0[{low},\u00a0{high}]"


def _figures(evaluation: Evaluation, k: int) -> dict[str, AnyChart]:
    name, lenses = one_line(evaluation.model), evaluation.lenses
    unspoken = {lens.name: evaluation.by_layer(lens, k)[1:] for lens in lenses}
    first = min(1, evaluation.n_layers - 1)  # layer 0 echoes the prompt, but it may be all there is
    made = {
        "unspoken": _by_layer(
            unspoken, f"share of intermediates at rank ≤ {k}", f"{name}: what is in mind and not said", 1
        ),
        "kl": _by_layer(
            {lens.name: np.array(lens.held_out.kl_bits)[first:] for lens in lenses},
            "KL(output ‖ lens), bits",
            f"{name}: how far from the output, on text",
            first,
            share=False,
        ),
    }
    if len(lenses[0].answers):
        answers = {lens.name: evaluation.answers_by_layer(lens)[1:] for lens in lenses}
        made["answers"] = _by_layer(answers, "share of answers that lead", f"{name}: answers that it knows", 1)
    return made


def _by_layer(curves: dict[str, np.ndarray], y_title: str, title: str, first: int, *, share: bool = True) -> AnyChart:
    frame = pd.concat(
        pd.DataFrame({"layer": np.arange(len(curve)) + first, "value": curve, "lens": one_line(name)})
        for name, curve in curves.items()
    )
    return charts.lines(
        frame,
        x="layer",
        y="value",
        colour="lens",
        x_title="layer (blocks done)",
        y_title=y_title,
        title=title,
        y_domain=(0, 1) if share else None,
    )


def _told_by(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card says that not every card does: tuned lenses know no halves, published ones hardly anything."""
    text, held_out = card.get("text") or {}, card.get("held_out") or {}
    halves = held_out.get("halves") or {}
    return {"tokens": text.get("tokens"), "kl_bits": held_out.get("kl_bits"), "halves": halves.get("top1_agreement")}


def _as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as plain values: of controls what passed, of everything else all ranks."""
    return {
        "model": evaluation.model,
        "n_layers": evaluation.n_layers,
        "items": evaluation.items,
        "words": [asdict(word) for word in evaluation.words],
        "text": dict(evaluation.text),
        "versions": dict(evaluation.versions),
        "lenses": [
            {
                "name": lens.name,
                "method": lens.method,
                "unspoken_ranks": lens.unspoken.tolist(),
                "answer_ranks": lens.answers.tolist(),
                "held_out": lens.held_out.described(),
                "controls": {
                    name: asdict(passed) if (passed := evaluation.pass_at(lens, control=name)) else None
                    for name in lens.controls
                },
                "card": dict(lens.card),
            }
            for lens in evaluation.lenses
        ],
    }
