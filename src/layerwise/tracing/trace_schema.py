"""What a trace's file holds (`layerwise.tracing.trace_file`): the form that everything in it is compared with."""

from typing import Annotated, NotRequired

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict  # pydantic reads that of `typing` from Python 3.12 on

from layerwise.tracing.request import Request
from layerwise.tracing.trace import Checks
from layerwise.tracing.trace_cells import (
    Index,
    Number,
    StoredLayer,
    StoredLeaders,
    StoredToken,
    StoredTokenProb,
    expect,
)
from layerwise.types import ModelInfo

FORMAT = "layerwise trace 2"


def _has_its_deciding_token(answer: "_Answer") -> "_Answer":
    expect(answer["deciding_index"] < len(answer["tokens"]), "deciding_index is none of its tokens")
    return answer


class _Answer(TypedDict):
    text: str
    tokens: list[StoredToken]
    deciding_index: Index


class _Answers(TypedDict):
    accepted: Annotated[list[Annotated[_Answer, AfterValidator(_has_its_deciding_token)]], Field(min_length=1)]
    known: bool


class _Temperature(TypedDict):
    temperature: Number
    top: list[StoredTokenProb]
    lse: list[float]


class _Provenance(TypedDict):
    model: ModelInfo
    versions: dict[str, str]


# Of the texts only the names of parts are kept to be used again: they alone repeat in every cell.
@with_config(ConfigDict(allow_inf_nan=False, cache_strings="keys"))
class StoredTrace(TypedDict):
    """A file, as far as it is read: what else it holds follows from this."""

    format: str
    prompt: str
    request: NotRequired[Request | None]
    """Files written before there was any lack it."""
    tokens: Annotated[list[StoredToken], Field(min_length=1)]
    generated: list[StoredToken]
    lens: str
    answer: _Answers | None
    wrong: _Answers | None
    leaders: NotRequired[list[StoredLeaders] | None]
    """As with `request`."""
    layers: Annotated[list[StoredLayer], Field(min_length=2)]
    output: list[StoredTokenProb]
    temperatures: list[_Temperature]
    checks: Checks
    notes: NotRequired[list[str]]
    """As with `request`."""
    provenance: _Provenance


def _fits_together(stored: StoredTrace) -> StoredTrace:
    """Refuse parts of lengths that do not go with one another."""
    layers, last = stored["layers"], len(stored["tokens"]) - 1
    first, positions = layers[0], list(layers[0].positions)
    leaders = stored.get("leaders")
    expect(stored["format"] == FORMAT, f"format is not {FORMAT!r}")
    expect(positions == sorted(set(positions)), "positions do not rise")
    expect(positions[-1] <= last + len(stored["generated"]), "a position is after the last token")
    expect(last in positions, "the prompt's last token is not among the positions")
    expect(all(layer.positions == first.positions for layer in layers), "layers differ in their positions")
    expect(all(layer.measured == first.measured for layer in layers), "layers differ in their measures")
    expect(len({layer.top_ids.shape for layer in layers}) == 1, "top has different numbers of tokens")
    ids = [[token.id for token in layer.tracked] for layer in layers]
    expect(all(each == ids[0] for each in ids), "tracked tokens differ")
    expect(leaders is None or len(leaders) == len(positions), "leaders are not as many as positions")
    lengths = {each.logprobs.shape[1] for each in leaders or () if each.tokens}
    expect(lengths <= {len(layers)}, "logprobs of a leader are not as many as layers")
    for entry in stored["temperatures"]:
        expect(len(entry["lse"]) == len(layers), "lse of a temperature are not as many as layers")
    request = stored.get("request")
    expect(request is None or request.prompt != (), "the prompt of what was asked for is empty")
    checks, vocab_size = stored["checks"], stored["provenance"]["model"].vocab_size
    drift = (checks.drift_variation, checks.drift_entropy_bits, checks.drift_tops)
    expect(drift.count(None) in (0, 3), "checks have some of drift_variation, drift_entropy_bits and drift_tops only")
    errors = (checks.identity_error, checks.identity_limit, checks.states_error, checks.device_error or 0.0)
    expect(min(errors) >= 0, "an error or a limit among the checks is negative")
    expect(0 < vocab_size < 2**63, "vocab_size of the model is no number of tokens")
    for which in ("answer", "wrong"):
        there = [last] if stored[which] is not None else []
        fits = all(list(layer.answers[which]) == there for layer in layers)
        expect(fits, f"{which} is missing at a layer, or was not asked for")
        curves = {tuple(here) for layer in layers for here in layer.answers[which].values()}
        expect(len(curves) <= 1, f"layers differ in what they say of {which}")
    return stored


_TRACE = TypeAdapter(StoredTrace)


def stored_trace(content: bytes) -> StoredTrace:
    """Return the parts of a trace's file.

    Raises:
        ValueError: one is not as it should be (pydantic's ValidationError, which says where), or they do not go with
            one another.
    """
    return _fits_together(_TRACE.validate_json(content, strict=True))
