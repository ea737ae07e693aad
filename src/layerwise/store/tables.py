"""The table of a run: one row per model, lens and question, with a list over layers for each curve."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pyarrow as pa

from layerwise.measures.measure import Measure
from layerwise.measures.milestones import Milestones
from layerwise.questions.question import Question
from layerwise.tracing.layer_measures import ANSWER_CURVES, MEASURES
from layerwise.tracing.trace import AnswerTrace, Checks, Trace

if TYPE_CHECKING:
    import pandas as pd

_TOKEN = pa.struct([("id", pa.int64()), ("text", pa.string())])
_TOKEN_PROB = pa.struct([*_TOKEN, ("prob", pa.float64()), ("logprob", pa.float64())])
_TRACKED = pa.struct([*_TOKEN_PROB, ("rank", pa.int64())])
_ANSWER = pa.struct([("text", pa.string()), ("tokens", pa.list_(_TOKEN)), ("deciding_index", pa.int64())])
_ARROW = {float: pa.float64(), int: pa.int64(), str: pa.string()}
_CHECKS = {
    field.name: next(_ARROW[kind] for kind in (field.type, *get_args(field.type)) if kind in _ARROW)
    for field in fields(Checks)
}


def _types(measures: Mapping[str, Measure]) -> dict[str, pa.DataType]:
    return {name: pa.int32() if each.range.whole else pa.float32() for name, each in measures.items()}


_BY_KIND = dict(sorted(ANSWER_CURVES.items(), key=lambda curve: curve[1].range.whole))
"""Integers last, as they are stored."""

_WRONG_CURVES = ("prob", "logprob", "rank")

CURVES: dict[str, pa.DataType] = {
    **_types(MEASURES),
    **{f"answer_{name}": kind for name, kind in _types(_BY_KIND).items()},
    **{f"wrong_{name}": _types(ANSWER_CURVES)[name] for name in _WRONG_CURVES},
}
"""Numbers, one per layer, after the prompt; null where there is no answer."""

LATER = frozenset(
    [
        *(name for name, each in MEASURES.items() if each.later),
        *(f"answer_{name}" for name, each in ANSWER_CURVES.items() if each.later),
        *(field.name for field in fields(Checks) if field.default is None),
    ]
)
"""Columns that shards lack which were written before there were any."""

PER_LAYER: dict[str, pa.DataType] = {
    **CURVES,
    "top": pa.list_(_TOKEN_PROB),
    "tracked": pa.list_(_TRACKED),
    "lse": pa.list_(pa.float64()),
}
"""Columns that hold a list with one entry per layer, 0 to n."""

QUESTIONS = pa.schema(
    [
        ("model", pa.string()),
        ("location", pa.string()),
        ("dtype", pa.string()),
        ("n_layers", pa.int64()),
        ("lens", pa.string()),
        ("question", pa.string()),
        *((name, pa.string()) for name in ("set", "item", "direction", "wording", "group", "role")),
        ("prompt", pa.string()),
        ("refused", pa.string()),
        ("tokens", pa.list_(_TOKEN)),
        ("answer", pa.string()),
        ("answers", pa.list_(_ANSWER)),
        ("known", pa.bool_()),
        ("wrong", pa.string()),
        *((field.name, pa.int64()) for field in fields(Milestones)),
        ("output", pa.list_(_TOKEN_PROB)),
        (
            "temperatures",
            pa.list_(pa.struct([("temperature", pa.float64()), ("top", pa.list_(_TOKEN_PROB))])),
        ),
        *_CHECKS.items(),
        *((name, pa.list_(kind)) for name, kind in PER_LAYER.items()),
    ]
)
"""`refused` says why a model could not be asked; then there are no numbers. `known` is whether the model would write
the answer by itself."""


def question_row(trace: Trace, question: Question) -> dict[str, Any]:
    """Return a trace's row of `QUESTIONS`."""
    return {
        **_asked(question),
        "model": trace.model.name,
        "location": trace.model.location,
        "dtype": trace.model.dtype,
        "n_layers": trace.n_layers,
        "lens": trace.lens,
        "tokens": [asdict(token) for token in trace.tokens],
        "answer": trace.answer.answers[0].text if trace.answer else None,
        "answers": [asdict(each) for each in trace.answer.answers] if trace.answer else [],
        "known": trace.answer.known if trace.answer else None,
        "wrong": trace.wrong.answers[0].text if trace.wrong else None,
        **asdict(trace.milestones),
        "output": [asdict(token) for token in trace.output],
        "temperatures": [
            {"temperature": temperature, "top": [asdict(token) for token in top]}
            for temperature, top in trace.temperatures
        ],
        **asdict(trace.checks),
        **{name: values[:, trace.last] for name, values in trace.measures.items()},
        **_curves("answer", trace.answer, ANSWER_CURVES),
        **_curves("wrong", trace.wrong, _WRONG_CURVES),
        "top": [[asdict(token) for token in trace.top(layer)] for layer in range(trace.n_layers + 1)],
        "tracked": [_tracked(trace, layer) for layer in range(trace.n_layers + 1)],
        "lse": trace.lse.tolist(),
    }


def refused_row(question: Question, model: str, lens: str, reason: str) -> dict[str, Any]:
    """Return the row of a question that a model cannot be asked."""
    return {**_asked(question), "model": model, "lens": lens, "refused": reason}


def _asked(question: Question) -> dict[str, Any]:
    names = ("set", "item", "direction", "wording", "group", "role", "prompt")
    return {"question": question.id} | {name: getattr(question, name) for name in names}


def _curves(prefix: str, answer: AnswerTrace | None, names: Iterable[str]) -> dict[str, Any]:
    return {f"{prefix}_{name}": getattr(answer, name) if answer else None for name in names}


def _tracked(trace: Trace, layer: int) -> list[dict[str, Any]]:
    return [
        asdict(tracked.token)
        | {
            "prob": float(np.exp(tracked.logprob[layer, trace.last])),
            "logprob": float(tracked.logprob[layer, trace.last]),
            "rank": int(tracked.rank[layer, trace.last]),
        }
        for tracked in trace.tracked
    ]


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as a shard's table; what one of them leaves out is null."""
    return pa.Table.from_pylist(rows, schema=QUESTIONS)


def without_curves(table: pa.Table) -> "pd.DataFrame":
    """Return one row per model, lens and question."""
    kept = [name for name in table.column_names if name not in PER_LAYER]
    return table.select(kept).to_pandas(ignore_metadata=True)


def stacked(column: pa.ChunkedArray, layers: int) -> np.ndarray:
    """Return a curve of every question of one model, [question, layer]; NaN where a question has none.

    float32 stays, everything else comes in float64.
    """
    curves = column.combine_chunks()
    there = curves.is_valid().to_numpy(zero_copy_only=False)
    flat = curves.flatten().to_numpy(zero_copy_only=False)
    full = np.full((len(there), layers), np.nan, dtype=np.float32 if flat.dtype == np.float32 else np.float64)
    full[there] = flat.reshape(-1, layers)
    return full


def by_layer(table: pa.Table) -> "pd.DataFrame":
    """Return one row per model, lens, question and layer, of the questions that were not refused."""
    import pandas as pd

    read = table.filter(table["refused"].is_null())
    counts = read["n_layers"].to_numpy() + 1
    row = np.repeat(np.arange(read.num_rows), counts)
    layer = np.concatenate([np.arange(count) for count in counts]) if len(counts) else np.array([], dtype=int)
    columns: dict[str, Any] = {
        name: read[name].to_numpy(zero_copy_only=False)[row] for name in ("model", "lens", "question")
    }
    columns |= {"layer": layer, "depth": layer / (counts[row] - 1)}
    for name in PER_LAYER:
        lists = read[name].combine_chunks()
        there = lists.is_valid().to_numpy(zero_copy_only=False)
        values = lists.flatten().to_pandas().to_numpy()
        if there.all():
            columns[name] = values
        else:
            columns[name] = np.full(len(row), np.nan, dtype=np.result_type(values.dtype, np.float64))
            columns[name][there[row]] = values
    return pd.DataFrame(columns)
