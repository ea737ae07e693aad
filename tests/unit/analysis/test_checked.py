"""The largest errors of a run are those of its rows."""

import pandas as pd

from layerwise.analysis.checked import largest_errors
from layerwise.tracing.trace import CHECK_FIGURES


def _row(model, covered_by, **errors):
    return {"model": model, "covered_by": covered_by} | dict.fromkeys(CHECK_FIGURES) | errors


def test_each_models_largest_errors_stand_with_the_prompts_that_were_compared():
    rows = [
        _row("b", "p", identity_error=1e-5, states_error=3e-7),
        _row("b", "p", identity_error=4e-5, states_error=1e-7, drift_tops=2),
        _row("b", "q", identity_error=2e-5, drift_tops=1),
        _row("a", "p", identity_error=5e-5),
    ]
    found = largest_errors(pd.DataFrame(rows).astype(dict.fromkeys(CHECK_FIGURES, float)))
    assert list(found.index) == ["b", "a"], "in the order of the run"
    largest = found.loc["b"]
    assert (largest.identity_error, largest.states_error, largest.drift_tops, largest.prompts) == (4e-5, 3e-7, 2, 2)
    assert found.loc["a", "prompts"] == 1


def test_an_error_that_was_not_measured_is_missing():
    rows = pd.DataFrame([_row("m", "p", identity_error=1e-5)]).astype(dict.fromkeys(CHECK_FIGURES, float))
    found = largest_errors(rows).loc["m"]
    assert pd.isna(found.device_error)
    assert not pd.isna(found.identity_error)
