"""Traces, and a study, as the one JSON document that every view is drawn from (docs/view-format.md)."""

import base64
import json
from collections.abc import Container, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from layerwise.interventions.written import shown
from layerwise.measures.measure import SHARE
from layerwise.text import one_line
from layerwise.tracing.layer_measures import ANSWER_CURVES, MEASURES
from layerwise.tracing.trace import AnswerTrace, TokenTrace, Trace
from layerwise.types import ModelInfo, shown_name
from layerwise.view.recipes import recipes
from layerwise.view.trust import trust, warnings

FORMAT = "layerwise view 1"

Json = dict[str, Any]

_FIRST = ("prob", "rank", "logprob", "margin")

SHOWN_CURVES = (*_FIRST, *(name for name, curve in ANSWER_CURVES.items() if curve.shown and name not in _FIRST))
"""Of the answer, those that matter most first."""

_LOCAL = ("folder", "gguf")
"""Sources of models whose location is a path of this machine."""

_TYPES = {"f": np.dtype("<f4"), "i": np.dtype("<i4"), "u": np.dtype("u1"), "b": np.dtype("u1")}
_NAMES = {"<f4": "float32", "<i4": "int32", "|u1": "uint8"}


def view_document(
    traces: Sequence[Trace], *, title: str | None = None, study: Json | None = None, patchings: Sequence[Json] = ()
) -> Json:
    """Return the document of some traces, of a study (`view.study`), of patch grids (`view.patching_part`), or of all.

    Without a title it is called after the first trace's prompt, the study, or the first grids' prompt.
    """
    called = [*(trace.prompt for trace in traces), *([study["title"]] if study else [])]
    called += ["".join(text for _, text in each["clean"]) for each in patchings]
    named = title or next(filter(None, called), "layerwise")
    return {
        "format": FORMAT,
        "title": one_line(named, limit=90),
        "traces": [trace_part(trace) for trace in traces],
        "study": study,
        "patchings": list(patchings),
    }


def document_json(document: Json) -> str:
    """Return a document as JSON text in ASCII: the same document is the same text.

    Raises:
        ValueError: a number outside of an array is not finite; JSON has no word for it.
    """
    return json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def trace_part(trace: Trace) -> Json:
    """Return one of a document's traces. Where a model is on this machine is not told: the page may be mailed."""
    trace = replace(trace, model=without_place(trace.model))
    edited = f"{'; '.join(map(shown, trace.edits))} · " if trace.edits else ""
    return {
        "label": f"{one_line(trace.model.name, limit=40)} · {trace.lens} · "
        f"{one_line(edited, limit=40)}{one_line(trace.prompt, limit=40)}",
        "model": asdict(trace.model),
        "lens": trace.lens,
        "edits": [*map(shown, trace.edits)],
        "prompt": trace.prompt,
        "tokens": [[token.id, token.text] for token in trace.tokens + trace.generated],
        "generated": len(trace.generated),
        "positions": list(trace.positions),
        "n_layers": trace.n_layers,
        "texts": _texts(trace),
        "top_ids": packed(trace.top_ids),
        "top_logprobs": packed(trace.top_logprobs),
        "measures": {name: packed(values) for name, values in trace.measures.items()},
        "described": described(trace.measures),
        "leaders": _leaders(trace),
        "tracked": [_tracked(tracked) for tracked in trace.tracked],
        "answer": _answer(trace.answer),
        "wrong": _answer(trace.wrong),
        "milestones": asdict(trace.milestones),
        "output": [{"id": token.id, "text": token.text, "prob": token.prob} for token in trace.output],
        "checks": asdict(trace.checks),
        "trust": trust(trace.checks, trace.model, trace.lens),
        "warnings": warnings(trace),
        "recipes": recipes(trace),
        "versions": trace.versions,
    }


def without_place(model: ModelInfo) -> ModelInfo:
    """Return what a model is, without where it is on this machine."""
    name, location = shown_name(model.name), shown_name(model.location)
    if model.source in _LOCAL:
        name, location = name.rsplit("/", 1)[-1], f"path/to/{location}"
    return replace(model, name=name, location=location)


def described(measures: Container[str]) -> Json:
    """Return what measures are called, in which unit they are, and where their scale ends if all share it."""
    return {
        name: {
            "title": each.title,
            "unit": each.unit,
            "scale": [each.range.low, each.range.high] if each.range == SHARE else None,
        }
        for name, each in MEASURES.items()
        if name in measures
    }


def packed(array: np.ndarray) -> Json:
    """Return an array as the document holds it: floats in 32 bits, integers in 32, bytes and truths in 8.

    Raises:
        ValueError: an integer does not fit.
    """
    wanted = _TYPES[array.dtype.kind]
    stored = np.ascontiguousarray(array, dtype=wanted)
    if array.dtype.kind != "f" and not np.array_equal(stored, array):
        raise ValueError(f"{array.dtype} numbers beyond {_NAMES[wanted.str]} cannot be stored in a view.")
    return {
        "type": _NAMES[wanted.str],
        "shape": list(array.shape),
        "base64": base64.b64encode(stored.tobytes()).decode("ascii"),
    }


def unpacked(part: Json) -> np.ndarray:
    """Return the array that `packed` wrote."""
    dtype = next(np.dtype(code) for code, name in _NAMES.items() if name == part["type"])
    return np.frombuffer(base64.b64decode(part["base64"]), dtype=dtype).reshape(part["shape"])


def _texts(trace: Trace) -> Json:
    """Return the text of every token that the trace's numbers are about, by ascending id."""
    named: list[tuple[int, str]] = [*trace.texts.items()]
    named += [(t.id, t.text) for t in (*trace.output, *(tracked.token for tracked in trace.tracked))]
    for answer in (trace.answer, trace.wrong):
        named += [(t.id, t.text) for each in (answer.answers if answer else ()) for t in each.tokens]
    ids, texts = zip(*sorted(dict(named).items()), strict=True)
    return {"ids": list(ids), "texts": list(texts)}


def _leaders(trace: Trace) -> list[Json] | None:
    if trace.leaders is None:
        return None
    return [{"ids": list(each.ids), "logprobs": packed(each.logprobs)} for each in trace.leaders]


def _tracked(tracked: TokenTrace) -> Json:
    return {
        "id": tracked.token.id,
        "text": tracked.token.text,
        "logprobs": packed(tracked.logprob),
        "ranks": packed(tracked.rank),
    }


def _answer(answer: AnswerTrace | None) -> Json | None:
    if answer is None:
        return None
    main = answer.answers[0]
    decides = main.deciding_token
    return {
        "texts": [each.text for each in answer.answers],
        "ids": sorted(answer.ids_after_prompt),
        "known": answer.known,
        "deciding": {"id": decides.id, "text": decides.text, "index": main.deciding_index},
    } | {name: packed(answer.curves[name]) for name in SHOWN_CURVES if name in answer.curves}
