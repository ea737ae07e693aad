"""Traces as JSON: the format of `layerwise trace --json` and of `Trace.save`."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ValidationError

from layerwise.errors import PromptError, StoreError
from layerwise.files import write_text_whole
from layerwise.questions.answers import Answer
from layerwise.text import first_fault
from layerwise.tracing.stored import StoredLeader, StoredToken, StoredTrace, stored_trace
from layerwise.tracing.trace import MEASURES, AnswerTrace, Leaders, TokenTrace, Trace
from layerwise.types import Token, TokenProb

FORMAT = "layerwise trace 2"

_ANSWER_MEASURES = ("prob", "rank", "ties", "margin", "logprob", "worst_rank", "first_token_prob", "first_token_rank")
_INTEGER = {"rank", "ties", "worst_rank", "first_token_rank"}


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
    cell |= {name: float(getattr(trace, name)[layer, place]) for name in MEASURES}
    for name, answer in (("answer", trace.answer), ("wrong", trace.wrong)):
        here = answer if place == trace.last else None
        cell[name] = {measure: getattr(here, measure)[layer].item() for measure in _ANSWER_MEASURES} if here else None
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
    layers = data["layers"]
    cells = [layer["positions"] for layer in layers]
    tracked = cells[0][0]["tracked"]
    leaders = data.get("leaders")
    led = [token for each in leaders or () for token in each]

    def table(pick: Any, dtype: type = np.float32) -> np.ndarray:
        return np.array([[pick(cell) for cell in row] for row in cells], dtype=dtype)

    return Trace(
        model=data["provenance"]["model"],
        request=data.get("request"),
        prompt=data["prompt"],
        tokens=_tokens(data["tokens"]),
        generated=_tokens(data["generated"]),
        lens=data["lens"],
        positions=tuple(cell["position"] for cell in cells[0]),
        top_ids=table(lambda cell: [t["id"] for t in cell["top"]], np.int64),
        top_logprobs=table(lambda cell: [t["logprob"] for t in cell["top"]]),
        texts={t["id"]: t["text"] for t in (*(t for row in cells for cell in row for t in cell["top"]), *led)},
        **{name: table(lambda cell, name=name: cell[name]) for name in MEASURES},
        answer=_answer_trace(data, "answer"),
        wrong=_answer_trace(data, "wrong"),
        tracked=tuple(
            TokenTrace(
                Token(token["id"], token["text"]),
                logprob=table(lambda cell, i=i: cell["tracked"][i]["logprob"]),
                rank=table(lambda cell, i=i: cell["tracked"][i]["rank"], np.int64),
            )
            for i, token in enumerate(tracked)
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


def _leaders(entries: list[StoredLeader]) -> Leaders:
    curves = np.array([entry["logprobs"] for entry in entries], dtype=np.float32)
    return Leaders(tuple(entry["id"] for entry in entries), curves.T)


def _answer_trace(data: StoredTrace, which: Literal["answer", "wrong"]) -> AnswerTrace | None:
    asked = data[which]
    if asked is None:
        return None
    cells = [here for layer in data["layers"] for cell in layer["positions"] if (here := cell[which])]
    return AnswerTrace(
        answers=tuple(
            Answer(entry["text"], _tokens(entry["tokens"]), entry["deciding_index"]) for entry in asked["accepted"]
        ),
        known=asked["known"],
        **{
            name: np.array([cell[name] for cell in cells], dtype=np.int64 if name in _INTEGER else np.float32)
            for name in _ANSWER_MEASURES
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
        text = path.read_text(encoding="utf-8")
        found = _format_of(json.loads(text))
    except OSError as error:
        raise StoreError(f"The trace {path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not JSON, or was cut short ({error}). Save the trace again.") from error
    if found != FORMAT:
        raise StoreError(f"{path} is no trace that this version can open: expected {FORMAT!r}, found {found!r}.")
    try:
        return _trace(stored_trace(text))
    except PromptError as error:
        raise StoreError(f"{path} begins like a trace, but what was asked for is no request: {error}") from error
    except ValidationError as error:
        raise StoreError(
            f"{path} begins like a trace, but a part is missing or of another form: {first_fault(error)}. Save the "
            "trace again."
        ) from error


def _format_of(data: Any) -> Any:
    return data.get("format") if isinstance(data, dict) else type(data).__name__
