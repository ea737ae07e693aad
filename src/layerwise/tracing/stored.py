"""What a trace's file holds (`layerwise.tracing.serial`): the form that everything in it is held against."""

from typing import Annotated, NotRequired

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict  # pydantic reads that of `typing` from Python 3.12 on

from layerwise.tracing.request import Request
from layerwise.tracing.trace import Checks
from layerwise.types import ModelInfo

_ROUNDING = 1e-3
"""How far rounding may carry a probability, or its logarithm, beyond that of certainty."""
_LARGEST = float(np.finfo(np.float32).max)
_Index = Annotated[int, Field(ge=0, lt=2**63)]
_Rank = Annotated[int, Field(ge=1, lt=2**63)]
_Number = Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
_Prob = Annotated[float, Field(ge=0, le=1 + _ROUNDING)]
_Logprob = Annotated[float, Field(ge=-_LARGEST, le=_ROUNDING)]


class StoredToken(TypedDict):
    """A token: `layerwise.types.Token`."""

    id: _Index
    text: str


class _TokenProb(StoredToken):
    prob: _Prob
    logprob: _Logprob


class _Tracked(_TokenProb):
    rank: _Rank


class StoredLeader(StoredToken):
    """A token that leads at a layer, and its log-probability at every layer: `Leaders`."""

    logprobs: list[_Logprob]


class _AnswerHere(TypedDict):
    """What one layer says about an answer: `AnswerTrace`."""

    prob: _Prob
    rank: _Rank
    ties: _Index
    margin: _Number
    logprob: _Logprob
    worst_rank: _Rank
    first_token_prob: _Prob
    first_token_rank: _Rank


class _Cell(TypedDict):
    """One layer at one position."""

    position: _Index
    top: Annotated[list[_TokenProb], Field(min_length=1)]
    entropy_bits: _Number
    kl_to_final_bits: _Number
    kl_from_final_bits: _Number
    kl_from_logit_lens_bits: _Number
    total_variation: _Number
    echo_mass: _Number
    residual_norm: _Number
    cosine_to_final: _Number
    answer: _AnswerHere | None
    wrong: _AnswerHere | None
    tracked: list[_Tracked]


class _Layer(TypedDict):
    positions: Annotated[list[_Cell], Field(min_length=1)]


def _has_its_deciding_token(answer: "_Answer") -> "_Answer":
    _expect(answer["deciding_index"] < len(answer["tokens"]), "deciding_index is none of its tokens")
    return answer


class _Answer(TypedDict):
    text: str
    tokens: list[StoredToken]
    deciding_index: _Index


class _Answers(TypedDict):
    accepted: Annotated[list[Annotated[_Answer, AfterValidator(_has_its_deciding_token)]], Field(min_length=1)]
    known: bool


class _Temperature(TypedDict):
    temperature: _Number
    top: list[_TokenProb]
    lse: list[float]


class _Provenance(TypedDict):
    model: ModelInfo
    versions: dict[str, str]


@with_config(ConfigDict(allow_inf_nan=False))
class StoredTrace(TypedDict):
    """A file, as far as it is read: what else it holds follows from this."""

    prompt: str
    request: NotRequired[Request | None]
    """Files written before there was any lack it."""
    tokens: Annotated[list[StoredToken], Field(min_length=1)]
    generated: list[StoredToken]
    lens: str
    answer: _Answers | None
    wrong: _Answers | None
    leaders: NotRequired[list[list[StoredLeader]] | None]
    """As with `request`."""
    layers: Annotated[list[_Layer], Field(min_length=2)]
    output: list[_TokenProb]
    temperatures: list[_Temperature]
    checks: Checks
    notes: NotRequired[list[str]]
    """As with `request`."""
    provenance: _Provenance


def _fits_together(stored: StoredTrace) -> StoredTrace:
    """Refuse parts of lengths that do not go with one another."""
    rows = [layer["positions"] for layer in stored["layers"]]
    first, layers, last = rows[0], len(rows), len(stored["tokens"]) - 1
    positions = [cell["position"] for cell in first]
    tracked = [token["id"] for token in first[0]["tracked"]]
    cells = [cell for row in rows for cell in row]
    leaders = stored.get("leaders")
    _expect(positions == sorted(set(positions)), "positions do not rise")
    _expect(positions[-1] <= last + len(stored["generated"]), "a position is behind the last token")
    _expect(last in positions, "the prompt's last token is not among the positions")
    _expect(all([cell["position"] for cell in row] == positions for row in rows), "layers differ in their positions")
    _expect(len({len(cell["top"]) for cell in cells}) == 1, "top has different numbers of tokens")
    _expect(all([token["id"] for token in cell["tracked"]] == tracked for cell in cells), "tracked tokens differ")
    _expect(leaders is None or len(leaders) == len(first), "leaders are not as many as positions")
    for curve in [leader["logprobs"] for some in leaders or () for leader in some]:
        _expect(len(curve) == layers, "logprobs of a leader are not as many as layers")
    for entry in stored["temperatures"]:
        _expect(len(entry["lse"]) == layers, "lse of a temperature are not as many as layers")
    request = stored.get("request")
    _expect(request is None or request.prompt != (), "the prompt of what was asked for is empty")
    checks, vocab_size = stored["checks"], stored["provenance"]["model"].vocab_size
    drift = (checks.drift_variation, checks.drift_entropy_bits, checks.drift_tops)
    _expect(drift.count(None) in (0, 3), "checks have some of drift_variation, drift_entropy_bits and drift_tops only")
    _expect(0 < vocab_size < 2**63, "vocab_size of the model is no number of tokens")
    for which in ("answer", "wrong"):
        asked = stored[which] is not None
        there = all((cell[which] is not None) == (asked and cell["position"] == last) for cell in cells)
        _expect(there, f"{which} is missing at a layer, or was not asked for")
    return stored


def _expect(fits: bool, otherwise: str) -> None:
    if not fits:
        raise ValueError(otherwise)


_TRACE = TypeAdapter(Annotated[StoredTrace, AfterValidator(_fits_together)])


def stored_trace(text: str) -> StoredTrace:
    """Return the parts of a trace's file. Raises pydantic's ValidationError where one is not as it should be."""
    return _TRACE.validate_json(text, strict=True)
