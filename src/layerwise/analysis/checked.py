"""How far a stored run's numbers were checked: the largest error of each model."""

from dataclasses import fields

import pandas as pd

from layerwise.tracing.trace import Checks

ERRORS = [field.name for field in fields(Checks) if field.name not in ("covered_by", "output_from")]
"""Columns of `store.tables.QUESTIONS` with what the checks of a trace measured."""


def largest_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, per model, the largest of each of `ERRORS`, and on how many `prompts` the checks ran.

    Args:
        rows: one per question and lens, with `ERRORS`, `model` and `covered_by`. An error that was not measured is
            missing, and so is the largest of a model without any.
    """
    wanted = dict.fromkeys(ERRORS, "max") | {"covered_by": "nunique"}
    return rows.groupby("model", sort=False).agg(wanted).rename(columns={"covered_by": "prompts"})
