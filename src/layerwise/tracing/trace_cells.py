"""The cells of a trace's file, layer by layer: compared with their form, and kept as arrays.

Nearly all of a large file is cells. Each is read into a dozen Python objects, so a layer's are turned into arrays as
soon as they are read, which leaves their memory to the next layer's.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

import numpy as np
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict  # pydantic reads that of `typing` from Python 3.12 on

from layerwise.measures.measure import Measure
from layerwise.tracing.layer_measures import ANSWER_CURVES, MEASURES
from layerwise.types import Token

_ROUNDING = 1e-3
"""How far rounding may carry a probability, its logarithm, or a measure beyond where it ends."""
_LARGEST = float(np.finfo(np.float32).max)
Index = Annotated[int, Field(ge=0, lt=2**63)]
Rank = Annotated[int, Field(ge=1, lt=2**63)]
Number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
Prob = Annotated[float, Field(ge=0, le=1 + _ROUNDING)]
Logprob = Annotated[float, Field(ge=-_LARGEST, le=_ROUNDING)]


class StoredToken(TypedDict):
    """A token: `layerwise.types.Token`."""

    id: Index
    text: str


class StoredTokenProb(StoredToken):
    """A token with its probability: `layerwise.types.TokenProb`."""

    prob: Prob
    logprob: Logprob


class _Tracked(StoredTokenProb):
    rank: Rank


class _Leader(StoredToken):
    logprobs: list[Logprob]


def _forms(measures: Mapping[str, Measure]) -> dict[str, Any]:
    """Return what each measure's value in a cell has to be."""
    lacked = {name for name, each in measures.items() if each.later or each.sometimes}
    return {name: NotRequired[_form(each)] if name in lacked else _form(each) for name, each in measures.items()}


def _form(measure: Measure) -> Any:
    low, high = measure.range.low, measure.range.high
    if measure.range.whole:
        return Annotated[int, Field(ge=low, lt=2**63)]
    return Annotated[float, Field(ge=max(low - _ROUNDING, -_LARGEST), le=min(high + _ROUNDING, _LARGEST))]


if TYPE_CHECKING:  # no annotation says what is declared elsewhere
    AnswerHere = dict[str, float]

    class _Measures(TypedDict): ...
else:
    AnswerHere = TypedDict("AnswerHere", _forms(ANSWER_CURVES))
    _Measures = TypedDict("_Measures", _forms(MEASURES))


class _Cell(_Measures):
    """One layer at one position."""

    position: Index
    top: Annotated[list[StoredTokenProb], Field(min_length=1)]
    answer: AnswerHere | None
    wrong: AnswerHere | None
    tracked: list[_Tracked]


class _Layer(TypedDict):
    positions: Annotated[list[_Cell], Field(min_length=1)]


@dataclass(frozen=True, eq=False)
class LayerColumns:
    """One layer: an entry, or a row, per position."""

    positions: tuple[int, ...]
    top_ids: np.ndarray
    """[position, rank]"""
    top_logprobs: np.ndarray
    """[position, rank]"""
    texts: dict[int, str]
    """Of every token in `top_ids`."""
    measured: tuple[str, ...]
    """The measures that are there."""
    measures: np.ndarray
    """[position, measure]"""
    tracked: tuple[Token, ...]
    tracked_logprobs: np.ndarray
    """[position, token]"""
    tracked_ranks: np.ndarray
    """[position, token]"""
    answers: dict[str, dict[int, AnswerHere]]
    """What is said of ``answer`` and of ``wrong``, by position."""


@dataclass(frozen=True, eq=False)
class LeaderColumns:
    """The tokens that lead at one position, each at some layer."""

    tokens: tuple[Token, ...]
    logprobs: np.ndarray
    """[token, layer]"""


def _columns(layer: _Layer) -> LayerColumns:
    """Return a layer's cells as columns. Raises ValueError where they are not alike."""
    fields = itemgetter("position", "top", "tracked", "answer", "wrong")
    positions, tops, followed, answer, wrong = zip(*map(fields, layer["positions"]), strict=True)
    top, tracked = list(chain.from_iterable(tops)), list(chain.from_iterable(followed))
    tokens = tuple(Token(token["id"], token["text"]) for token in followed[0])
    ids = [token.id for token in tokens]
    expect(len(set(map(len, tops))) == 1, "top has different numbers of tokens")
    expect(all([token["id"] for token in each] == ids for each in followed), "tracked tokens differ")
    cells = layer["positions"]
    measured = tuple(name for name in MEASURES if name in cells[0])
    expect(all(cell.keys() == cells[0].keys() for cell in cells), "positions differ in their measures")

    def table(values: Iterable[Any], width: int, dtype: type = np.float32) -> np.ndarray:
        return np.fromiter(values, dtype).reshape(len(positions), width)

    return LayerColumns(
        positions=positions,
        top_ids=table(map(itemgetter("id"), top), len(tops[0]), np.int64),
        top_logprobs=table(map(itemgetter("logprob"), top), len(tops[0])),
        texts=dict(map(itemgetter("id", "text"), top)),
        measured=measured,
        measures=table(chain.from_iterable(map(itemgetter(*measured), cells)), len(measured)),
        tracked=tokens,
        tracked_logprobs=table(map(itemgetter("logprob"), tracked), len(tokens)),
        tracked_ranks=table(map(itemgetter("rank"), tracked), len(tokens), np.int64),
        answers={
            which: {position: each for position, each in zip(positions, here, strict=True) if each is not None}
            for which, here in (("answer", answer), ("wrong", wrong))
        },
    )


def _leader_columns(leaders: list[_Leader]) -> LeaderColumns:
    """Return a position's leaders as columns. Raises ValueError where their curves differ in length."""
    curves = [leader["logprobs"] for leader in leaders]
    expect(len(set(map(len, curves))) <= 1, "logprobs of leaders differ in length")
    flat = np.fromiter(chain.from_iterable(curves), np.float32)
    tokens = tuple(Token(leader["id"], leader["text"]) for leader in leaders)
    return LeaderColumns(tokens, flat.reshape(len(leaders), len(curves[0]) if curves else 0))


if TYPE_CHECKING:  # what is read as the one comes out as the other, which no annotation says
    StoredLayer = LayerColumns
    StoredLeaders = LeaderColumns
else:
    StoredLayer = Annotated[_Layer, AfterValidator(_columns)]
    StoredLeaders = Annotated[list[_Leader], AfterValidator(_leader_columns)]


def expect(fits: bool, otherwise: str) -> None:
    """Raise ValueError with what is wrong unless something fits."""
    if not fits:
        raise ValueError(otherwise)
