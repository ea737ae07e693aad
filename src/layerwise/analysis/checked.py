"""How far a stored run's numbers were checked: the largest error of each model."""

import pandas as pd

from layerwise.tracing.trace import CHECK_FIGURES


def largest_errors(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, per model, the largest of each of `CHECK_FIGURES`, and on how many `prompts` the checks ran.

    Args:
        rows: one per question and lens, with `CHECK_FIGURES`, `model` and `covered_by`. An error that was not measured
            is missing, and so is the largest of a model without any.
    """
    wanted = dict.fromkeys(CHECK_FIGURES, "max") | {"covered_by": "nunique"}
    return rows.groupby("model", sort=False).agg(wanted).rename(columns={"covered_by": "prompts"})
