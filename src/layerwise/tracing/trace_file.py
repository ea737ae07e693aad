"""Traces as JSON: the format of `layerwise trace --json` and of `Trace.save`."""

import contextlib
import gc
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from layerwise.errors import PromptError, StoreError
from layerwise.files import write_text_whole
from layerwise.questions.answers import Answer
from layerwise.text import first_fault
from layerwise.tracing.layer_measures import ANSWER_CURVES
from layerwise.tracing.trace import AnswerTrace, Leaders, TokenTrace, Trace
from layerwise.tracing.trace_cells import LayerColumns, LeaderColumns, StoredToken
from layerwise.tracing.trace_schema import FORMAT, StoredTrace, stored_trace
from layerwise.types import Token, TokenProb


def to_json(trace: Trace) -> dict[str, Any]:
    """Return a trace as plain values; what `save` writes of them, `read` gives back, bit for bit."""
    return {
        "format": FORMAT,
        "model": trace.model.name,
        "prompt": trace.prompt,
        "request": asdict(trace.request) if trace.request else None,
        "tokens": [asdict(token) for token in trace.tokens],
        "generated": [asdict(token) for token in trace.generated],
        "n_layers": trace.n_layers,
        "lens": trace.lens,
        "dtype": trace.model.dtype,
        "device": trace.model.device,
        "answer": _set_json(trace.answer),
        "wrong": _set_json(trace.wrong),
        "milestones": asdict(trace.milestones),
        "leaders": None if trace.leaders is None else [_leaders_json(trace, each) for each in trace.leaders],
        "layers": [_layer_json(trace, layer) for layer in range(trace.n_layers + 1)],
        "output": [asdict(token) for token in trace.output],
        "temperatures": [
            {"temperature": temperature, "top": [asdict(token) for token in top], "lse": trace.lse[:, column].tolist()}
            for column, (temperature, top) in enumerate(trace.temperatures)
        ],
        "checks": asdict(trace.checks),
        "notes": list(trace.notes),
        "provenance": {"model": asdict(trace.model), "versions": trace.versions},
    }


def _set_json(answer: AnswerTrace | None) -> dict[str, Any] | None:
    if answer is None:
        return None
    each = [_answer_json(accepted) for accepted in answer.answers]
    return each[0] | {"accepted": each, "known": answer.known}


def _answer_json(answer: Answer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "tokens": [asdict(token) for token in answer.tokens],
        "deciding_index": answer.deciding_index,
    }


def _leaders_json(trace: Trace, leaders: Leaders) -> list[dict[str, Any]]:
    curves = leaders.logprobs.T.tolist()
    return [{"id": i, "text": trace.texts[i], "logprobs": curve} for i, curve in zip(leaders.ids, curves, strict=True)]


def _layer_json(trace: Trace, layer: int) -> dict[str, Any]:
    return {
        "layer": layer,
        "depth": layer / trace.n_layers,
        "positions": [_cell_json(trace, layer, place) for place in range(len(trace.positions))],
    }


def _cell_json(trace: Trace, layer: int, place: int) -> dict[str, Any]:
    position = trace.positions[place]
    cell: dict[str, Any] = {
        "position": position,
        "top": [asdict(token) for token in trace.top(layer, position)],
    }
    cell |= {name: float(values[layer, place]) for name, values in trace.measures.items()}
    for name, answer in (("answer", trace.answer), ("wrong", trace.wrong)):
        here = answer if place == trace.last else None
        cell[name] = {curve: values[layer].item() for curve, values in here.curves.items()} if here else None
    cell["tracked"] = [
        asdict(t.token)
        | {
            "prob": math.exp(t.logprob[layer, place]),
            "logprob": float(t.logprob[layer, place]),
            "rank": int(t.rank[layer, place]),
        }
        for t in trace.tracked
    ]
    return cell


def _trace(data: StoredTrace) -> Trace:
    """Return the trace that `to_json` wrote."""
    layers: list[LayerColumns] = data["layers"]
    leaders: list[LeaderColumns] | None = data.get("leaders")
    measures = np.stack([layer.measures for layer in layers])
    followed = np.stack([layer.tracked_logprobs for layer in layers]), np.stack([each.tracked_ranks for each in layers])
    texts = {token.id: token.text for each in leaders or () for token in each.tokens}
    for layer in layers:
        texts |= layer.texts
    return Trace(
        model=data["provenance"]["model"],
        request=data.get("request"),
        prompt=data["prompt"],
        tokens=_tokens(data["tokens"]),
        generated=_tokens(data["generated"]),
        lens=data["lens"],
        positions=layers[0].positions,
        top_ids=np.stack([layer.top_ids for layer in layers]),
        top_logprobs=np.stack([layer.top_logprobs for layer in layers]),
        texts=texts,
        **{name: measures[:, :, place].copy() for place, name in enumerate(layers[0].measured)},
        answer=_answer_trace(data, "answer"),
        wrong=_answer_trace(data, "wrong"),
        tracked=tuple(
            TokenTrace(token, logprob=followed[0][:, :, place].copy(), rank=followed[1][:, :, place].copy())
            for place, token in enumerate(layers[0].tracked)
        ),
        leaders=None if leaders is None else tuple(_leaders(each) for each in leaders),
        output=tuple(TokenProb(**token) for token in data["output"]),
        temperatures=tuple(
            (entry["temperature"], tuple(TokenProb(**token) for token in entry["top"]))
            for entry in data["temperatures"]
        ),
        lse=np.array([entry["lse"] for entry in data["temperatures"]]).reshape(-1, len(layers)).T,
        checks=data["checks"],
        versions=data["provenance"]["versions"],
        notes=tuple(data.get("notes", ())),
    )


def _leaders(columns: LeaderColumns) -> Leaders:
    return Leaders(tuple(token.id for token in columns.tokens), columns.logprobs.T)


def _answer_trace(data: StoredTrace, which: Literal["answer", "wrong"]) -> AnswerTrace | None:
    asked = data[which]
    if asked is None:
        return None
    at_layers = [here for layer in data["layers"] for here in layer.answers[which].values()]
    return AnswerTrace(
        answers=tuple(
            Answer(entry["text"], _tokens(entry["tokens"]), entry["deciding_index"]) for entry in asked["accepted"]
        ),
        known=asked["known"],
        **{
            name: np.array([here[name] for here in at_layers], np.int64 if curve.range.whole else np.float32)
            for name, curve in ANSWER_CURVES.items()
            if name in at_layers[0]
        },
    )


def _tokens(entries: list[StoredToken]) -> tuple[Token, ...]:
    return tuple(Token(**entry) for entry in entries)


def save(trace: Trace, path: Path) -> None:
    """Write a trace to `path`, whole or not at all. Raises StoreError if it cannot be written."""
    try:
        write_text_whole(path, dumps(trace))
    except OSError as error:
        raise StoreError(f"The trace could not be written to {path}: {error.strerror or error}.") from error


def dumps(trace: Trace, *, ascii_only: bool = False) -> str:
    """Return a trace as JSON text. NaN and infinity have no JSON and cannot occur in a trace."""
    return json.dumps(to_json(trace), ensure_ascii=ascii_only, allow_nan=False)


def read(path: Path) -> Trace:
    """Return the trace stored at `path`.

    Raises:
        StoreError: the file cannot be read, is cut short, or is no trace of this format.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"The trace {path} cannot be read: {error.strerror or error}.") from error
    try:
        with _without_collection():
            return _trace(stored_trace(content))
    except PromptError as error:
        raise StoreError(f"{path} begins like a trace, but what was asked for is no request: {error}") from error
    except ValueError as error:
        raise StoreError(_refused(path, content, error)) from error


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Keep Python from looking for garbage during the block.

    Every value of a trace is an object of its own, and none is garbage before the end: the search takes a third of
    the time in which a large file is read.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _refused(path: Path, content: bytes, fault: ValueError) -> str:
    """Return why a file is not read whose form is at fault: it may be no JSON, or of another format."""
    try:
        data = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        return f"{path} is not JSON, or was cut short ({error}). Save the trace again."
    found = data.get("format") if isinstance(data, dict) else type(data).__name__
    if found != FORMAT:
        return f"{path} is no trace that this version can open: expected {FORMAT!r}, found {found!r}."
    said = first_fault(fault) if isinstance(fault, ValidationError) else fault
    return f"{path} begins like a trace, but a part is missing or of another form: {said}. Save the trace again."
