"""A stored run as the dataset view shows it: claims, cells, curves, questions, and every question's layers."""

import math
from typing import Any

from layerwise.analysis.estimators import ESTIMATORS
from layerwise.analysis.judging import Judgement
from layerwise.analysis.overview import Overview
from layerwise.analysis.set_summary import Cell
from layerwise.lens_spec import ends_at_output
from layerwise.measures.uncertainty import Estimate
from layerwise.store.run import Run
from layerwise.store.shown_names import shown_run
from layerwise.view.study.asked_questions import Asked, asked_of, question_columns
from layerwise.view.study.depth_curves import curves_of
from layerwise.view.study.details import details_of

_BECAUSE = {
    "supported": "the whole 95 % interval lies among the values claimed",
    "not supported": "none of the 95 % interval lies among the values claimed",
    "inconclusive": "some of the 95 % interval lies among the values claimed, and some does not",
}


def study_of(run: Run) -> dict[str, Any]:
    """Return a run as the `study` of a view's document (docs/view-format.md).

    All of it depends on nothing but the stored run: the same run gives the same document. Estimates are those of
    the run's report. Models are told of through one lens, the logit lens where the study has it; random-weights
    controls are left out where there is another model. Questions of the study's own, which are in no set, have
    their rows and their layers too, and no part in any estimate.

    The layers of a large run do not all fit: `view.study.details` says what is left out, and so do `notes`.
    """
    overview = Overview(shown_run(run))
    asked = asked_of(overview)
    details, left_out = details_of(asked)
    return {
        "name": run.name,
        "title": run.study["title"],
        "description": run.study["description"].strip(),
        "lens": overview.lens,
        "ends_at_output": ends_at_output(overview.lens),
        "models": [each.model for each in asked],
        "warnings": _warnings(overview, asked),
        "notes": left_out,
        "claims": [_claim(judgement) for judgement in overview.judgements],
        "cells": [_cell(cell) for cell in (*overview.cells, *overview.by_wording)],
        "curves": curves_of(overview),
        "questions": question_columns(asked),
        "details": details,
    }


def _claim(judged: Judgement) -> dict[str, Any]:
    claim, found = judged.claim, judged.estimate
    widened = claim.widened_by_layers
    return {
        "id": claim.id,
        "sentence": claim.sentence,
        "model": judged.model,
        "verdict": judged.verdict,
        "because": judged.missing or _BECAUSE[judged.verdict],
        "in_depths": judged.in_depths,
        "value": found.value if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "n": found.n if found else None,
        "region": [end if math.isfinite(end) else None for end in (judged.region.low, judged.region.high)],
        "claimed": claim.region + (f" ± {widened} layer{'s' if widened > 1 else ''}" if widened else ""),
        "estimated": (ESTIMATORS[claim.estimator].__doc__ or "").split("\n", 1)[0].rstrip("."),
        "over": "known answers" if claim.over == "known" else "all questions",
    }


def _cell(cell: Cell) -> dict[str, Any]:
    return {
        "model": cell.model,
        "set": cell.set,
        "direction": cell.direction,
        "wording": cell.wording,
        "questions": cell.questions,
        "items": cell.items,
        "known": _estimate(cell.known),
        "depths": {name: _estimate(depth) for name, depth in cell.depths.items()},
    }


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n} if found else None


def _warnings(overview: Overview, asked: list[Asked]) -> list[str]:
    """Return what a reader must know of a run before its numbers are believed."""
    run, said = overview.run, []
    if not run.complete:
        said.append("This run is incomplete: what is shown covers what was stored.")
    said += [f"{model} could not be read to the end: {reason}" for model, reason in run.failures.items()]
    if not asked:
        said.append("No model has answered a question yet.")
    if count := len(overview.refused):
        some = "One question" if count == 1 else f"{count:,} questions"
        first = overview.refused.iloc[0]
        said.append(
            f"{some} could not be asked and {'is' if count == 1 else 'are'} left out; "
            f"{first['question']} of {first['model']}, for instance: {first['refused']}"
        )
    if not ends_at_output(overview.lens):
        said.append(f"Everything is read through the {overview.lens} lens, whose last layer is not the model's output.")
    return said
