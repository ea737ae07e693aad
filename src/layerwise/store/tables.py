"""The two tables of a run, and how traces become their rows."""

from dataclasses import asdict, fields
from typing import Any

import numpy as np
import pyarrow as pa

from layerwise.measures.milestones import Milestones
from layerwise.tracing.trace import MEASURES, Trace

_TOKEN = pa.struct([("id", pa.int64()), ("text", pa.string())])
_TOKEN_PROB = pa.struct([*_TOKEN, ("prob", pa.float64()), ("logprob", pa.float64())])
_TRACKED = pa.struct([*_TOKEN_PROB, ("rank", pa.int64())])
_CHECKS = {
    "identity_error": pa.float64(),
    "identity_limit": pa.float64(),
    "states_error": pa.float64(),
    "covered_by": pa.string(),
    "output_from": pa.string(),
    "device_error": pa.float64(),
    "drift_variation": pa.float64(),
    "drift_entropy_bits": pa.float64(),
    "drift_tops": pa.int64(),
}
_ANSWER_FLOATS = ("prob", "margin", "logprob", "first_token_prob")
_ANSWER_INTEGERS = ("rank", "ties", "first_token_rank")

QUESTIONS = pa.schema(
    [
        ("model", pa.string()),
        ("location", pa.string()),
        ("dtype", pa.string()),
        ("n_layers", pa.int64()),
        ("lens", pa.string()),
        ("question", pa.string()),
        ("role", pa.string()),
        ("prompt", pa.string()),
        ("tokens", pa.list_(_TOKEN)),
        ("answer", pa.string()),
        (
            "answers",
            pa.list_(pa.struct([("text", pa.string()), ("tokens", pa.list_(_TOKEN)), ("deciding_index", pa.int64())])),
        ),
        *((field.name, pa.int64()) for field in fields(Milestones)),
        ("output", pa.list_(_TOKEN_PROB)),
        (
            "temperatures",
            pa.list_(pa.struct([("temperature", pa.float64()), ("top", pa.list_(_TOKEN_PROB))])),
        ),
        *_CHECKS.items(),
    ]
)
"""One row per model, lens and question."""

LAYERS = pa.schema(
    [
        ("model", pa.string()),
        ("lens", pa.string()),
        ("question", pa.string()),
        ("layer", pa.int64()),
        ("depth", pa.float64()),
        ("position", pa.int64()),
        ("top", pa.list_(_TOKEN_PROB)),
        *((name, pa.float32()) for name in MEASURES),
        *((f"answer_{name}", pa.float32()) for name in _ANSWER_FLOATS),
        *((f"answer_{name}", pa.int64()) for name in _ANSWER_INTEGERS),
        ("tracked", pa.list_(_TRACKED)),
    ]
)
"""One row per model, lens, question, layer and position."""


TABLES = {"questions": QUESTIONS, "layers": LAYERS}


def question_row(trace: Trace, question: str, role: str) -> dict[str, Any]:
    """Return a trace's row of `QUESTIONS`."""
    return {
        "model": trace.model.name,
        "location": trace.model.location,
        "dtype": trace.model.dtype,
        "n_layers": trace.n_layers,
        "lens": trace.lens,
        "question": question,
        "role": role,
        "prompt": trace.prompt,
        "tokens": [asdict(token) for token in trace.tokens],
        "answer": trace.answer.answers[0].text if trace.answer else None,
        "answers": [asdict(each) for each in trace.answer.answers] if trace.answer else [],
        **asdict(trace.milestones),
        "output": [asdict(token) for token in trace.output],
        "temperatures": [
            {"temperature": temperature, "top": [asdict(token) for token in top]}
            for temperature, top in trace.temperatures
        ],
        **asdict(trace.checks),
    }


def layer_rows(trace: Trace, question: str) -> list[dict[str, Any]]:
    """Return a trace's rows of `LAYERS`."""
    rows = []
    for layer in range(trace.n_layers + 1):
        for place, position in enumerate(trace.positions):
            row: dict[str, Any] = {
                "model": trace.model.name,
                "lens": trace.lens,
                "question": question,
                "layer": layer,
                "depth": layer / trace.n_layers,
                "position": position,
                "top": [asdict(token) for token in trace.top(layer, position)],
            }
            row |= {name: getattr(trace, name)[layer, place] for name in MEASURES}
            if trace.answer and place == trace.last:
                for name in _ANSWER_FLOATS + _ANSWER_INTEGERS:
                    row[f"answer_{name}"] = getattr(trace.answer, name)[layer]
            row["tracked"] = [
                asdict(tracked.token)
                | {
                    "prob": float(np.exp(tracked.logprob[layer, place])),
                    "logprob": float(tracked.logprob[layer, place]),
                    "rank": int(tracked.rank[layer, place]),
                }
                for tracked in trace.tracked
            ]
            rows.append(row)
    return rows
