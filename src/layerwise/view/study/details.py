"""Every question's layers for the dataset view, in as much detail as there is room for."""

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerwise.analysis.own_questions import stored_answers
from layerwise.tracing.trace import CHECK_FIGURES, Checks
from layerwise.view.document import SHOWN_CURVES, described, packed
from layerwise.view.study.asked_questions import MEASURES, Asked
from layerwise.view.trust import trust

if TYPE_CHECKING:
    import pyarrow as pa

ROOM = 5_200_000
"""Bytes of arrays that a document may have, over all models: 7 MB in base64. Questions and texts come on top."""


@dataclass(frozen=True)
class Detail:
    """What is kept of every layer of a question."""

    ranks: int
    """Of the list of likeliest tokens, at most."""
    measures: tuple[str, ...]
    answer: tuple[str, ...]
    """Of the answer's curves, without ``answer_``."""

    def bytes_of(self, asked: Asked) -> int:
        """Return how many bytes a model's arrays take: four for every number."""
        per_cell = 2 * min(self.ranks, _stored_ranks(asked)) + len(self.measures) + len(self.answer)
        return 4 * len(asked) * (asked.n_layers + 1) * per_cell


DETAILS = (
    Detail(ranks=50, measures=MEASURES, answer=SHOWN_CURVES),
    Detail(ranks=10, measures=MEASURES[:3], answer=SHOWN_CURVES[:4]),
    Detail(ranks=5, measures=MEASURES[:2], answer=SHOWN_CURVES[:2]),
    Detail(ranks=3, measures=MEASURES[:2], answer=SHOWN_CURVES[:2]),
)
"""From the most to the least; the first for which there is room is taken."""


def details_of(asked: list[Asked]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return each model's layers (docs/view-format.md), and sentences that say what was left out.

    Where not even the least detail of all questions fits in `ROOM`, every second, third, … question has its layers.
    """
    detail = next((each for each in DETAILS if _bytes(each, asked) <= ROOM), DETAILS[-1])
    step = max(1, math.ceil(_bytes(detail, asked) / ROOM))
    starts = np.cumsum([0, *map(len, asked)]).tolist()
    found = [_of_model(each, start, step, detail) for each, start in zip(asked, starts, strict=False)]
    kept, whole = sum(len(each["rows"]) for each in found), sum(map(len, asked))
    left_out = []
    if kept < whole:
        left_out.append(f"The layers of {kept:,} of {whole:,} questions are in this view; the run holds all of them.")
    if detail != DETAILS[0]:
        left_out.append(
            f"Of every layer at most {detail.ranks} of the likeliest tokens and {len(detail.measures)} measures are in "
            "this view; the run holds more."
        )
    return found, left_out


def _bytes(detail: Detail, asked: list[Asked]) -> int:
    return sum(map(detail.bytes_of, asked))


def _of_model(asked: Asked, start: int, step: int, detail: Detail) -> dict[str, Any]:
    """Return every `step`-th question's layers; `start` is the model's first row of the questions' columns."""
    chosen = np.arange(0, len(asked), step)
    table = asked.table.take(chosen)
    top_ids, top_logprobs, texts = _top(table, asked.n_layers + 1, detail.ranks)
    tokens, checks = table["tokens"].to_pylist(), _checks(asked.table)
    texts |= {token["id"]: token["text"] for row in tokens for token in row}
    ids = sorted(texts)
    return {
        "model": asdict(asked.info),
        "n_layers": asked.n_layers,
        "rows": (start + chosen).tolist(),
        "tokens": [[token["id"] for token in row] for row in tokens],
        "texts": {"ids": ids, "texts": [texts[each] for each in ids]},
        "top_ids": packed(top_ids),
        "top_logprobs": packed(top_logprobs),
        "measures": {name: packed(_stacked(table, name, asked.n_layers + 1)) for name in detail.measures},
        "described": described(detail.measures),
        "answer": _answers(table)
        | {name: packed(_stacked(table, f"answer_{name}", asked.n_layers + 1)) for name in detail.answer},
        "checks": asdict(checks),
        "trust": trust(checks, asked.info, asked.lens),
    }


def _stored_ranks(asked: Asked) -> int:
    return len(asked.table["top"][0][0])


def _top(table: "pa.Table", layers: int, ranks: int) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Return ids and log-probabilities, [question, layer, rank], and the text of every id that is kept."""
    tokens = table["top"].combine_chunks().flatten().flatten()

    def of(name: str) -> np.ndarray:
        values = tokens.field(name).to_numpy(zero_copy_only=False)
        return values.reshape(table.num_rows, layers, -1)[:, :, :ranks]

    ids, places = np.unique(of("id"), return_index=True)
    texts = of("text").reshape(-1)[places]
    return of("id").astype(np.int32), of("logprob").astype(np.float32), dict(zip(ids.tolist(), texts, strict=True))


def _stacked(table: "pa.Table", name: str, layers: int) -> np.ndarray:
    """Return a curve of every question, [question, layer]; NaN where there is none, 0 for ranks."""
    from pyarrow.types import is_integer

    from layerwise.store.tables import stacked

    full = stacked(table[name], layers)
    return np.nan_to_num(full).astype(np.int32) if is_integer(table[name].type.value_type) else full


def _answers(table: "pa.Table") -> dict[str, list[Any]]:
    """Return what each question's answer is: one entry per question, null or empty where there is none."""
    found: dict[str, list[Any]] = {"texts": [], "ids": [], "deciding": []}
    for stored in table["answers"].to_pylist():
        answers = stored_answers(stored)
        decided = [answer.deciding_token for answer in answers]
        found["texts"].append([answer.text for answer in answers])
        found["ids"].append(
            sorted({token.id for answer, token in zip(answers, decided, strict=True) if answer.deciding_index == 0})
        )
        found["deciding"].append(asdict(decided[0]) | {"index": answers[0].deciding_index} if answers else None)
    return found


def _checks(table: "pa.Table") -> Checks:
    """Return the largest error that any check of a model's questions found."""
    found: dict[str, Any] = table.select(["covered_by", "output_from"]).slice(0, 1).to_pylist()[0]
    for name in CHECK_FIGURES:
        found[name] = max((error for error in table[name].to_pylist() if error is not None), default=None)
    return Checks(**found)
