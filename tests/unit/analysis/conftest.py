"""Cases made by hand: questions with the numbers that a test is about, everything else plain."""

import numpy as np
import pandas as pd
import pytest

from layerwise.analysis.cases import CURVES, Cases

_MILESTONES = ("settled_top1", "first_top1", "first_p50", "first_p95", "settled_kl_1bit", "copy", "half_entropy")


def _make(rows, *, lens="logit", model="m", n_layers=4, temperatures=(), lse=None, top=None, **curves):
    frame = pd.DataFrame([_question(at, row) for at, row in enumerate(rows)], columns=pd.Index([*_question(0, {})]))
    for name in _MILESTONES:
        frame[name] = frame[name].astype(float)
    frame["known"] = frame["known"].astype(bool)
    shape = (len(frame), n_layers + 1)
    full = {name: np.asarray(curves.get(name, np.zeros(shape)), dtype=np.float64).reshape(shape) for name in CURVES}
    tops = np.zeros(shape, dtype=np.int64) if top is None else np.asarray(top).reshape(shape)
    return Cases(model, lens, n_layers, frame, full, tops, lse, temperatures)


def _question(at, row):
    plain = {"set": "s", "item": f"i{at:02}", "direction": "", "wording": "", "group": "", "prompt": "p"}
    plain |= {"answer": " a", "known": True, "wrong": None, "leads": " a", "begins": True} | dict.fromkeys(_MILESTONES)
    made = plain | row
    made["question"] = row.get(
        "question", "/".join(made[name] for name in ("set", "item", "direction", "wording") if made[name])
    )
    made["item"] = f"{made['set']}/{made['item']}"
    return made


@pytest.fixture(scope="session")
def cases():
    """``cases([{"item": "a", "settled_top1": 3}, …], answer_prob=[…])``: one question per row, four layers."""
    return _make
