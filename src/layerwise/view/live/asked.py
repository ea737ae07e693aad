"""What a page asks for, read from its JSON: nothing is taken on trust."""

import json
from dataclasses import dataclass
from typing import Any

from layerwise.errors import EditError, LayerwiseError
from layerwise.interventions.written import parse
from layerwise.lens_spec import LOGIT
from layerwise.tracing.request import Request

PROMPT_LIMIT = 20_000
"""Characters of a prompt. How many tokens there may be is the model's to say."""

TEXT_LIMIT = 500
"""Characters of an answer, of a token to follow, of what says which positions."""

TEXTS_LIMIT = 16
"""Answers, alternatives, or tokens to follow."""

EDIT_LIMIT = PROMPT_LIMIT + 20_000
"""Characters of an edit, which may hold another prompt, or a vector."""

TOP_LIMIT = 50
"""Tokens to keep per layer and position."""

EDITS_LIMIT = 16
"""Edits of one pass."""

TOGETHER_LIMIT = 4
"""Traces that are asked for together."""


class AskedError(LayerwiseError):
    """A request says something that cannot be done."""


@dataclass(frozen=True)
class Asked:
    """One prompt, for which model, and through which lens. Whether there are such is the session's to say."""

    model: str
    lens: str
    request: Request

    @property
    def lenses(self) -> set[str]:
        """All lenses that are named: edits name some too."""
        return {self.lens} | {getattr(parse(edit), "lens", "") for edit in self.request.edits} - {""}


def read_asked(body: bytes) -> Asked:
    """Return what to trace. Raises AskedError, with a message for the page, where a part is of another form."""
    fields = dict(_object(body))
    model, lens = _text(fields, "model"), _text(fields, "lens", default=LOGIT.name)
    return Asked(model, lens, _request(fields))


def read_together(body: bytes) -> list[Asked]:
    """Return what to trace side by side: of one model, through one lens. Raises AskedError as `read_asked` does."""
    fields = dict(_object(body))
    model, lens = _text(fields, "model"), _text(fields, "lens", default=LOGIT.name)
    prompts = fields.pop("prompts", None)
    if not isinstance(prompts, list) or not 1 <= len(prompts) <= TOGETHER_LIMIT:
        raise AskedError(f"prompts is a list of 1 to {TOGETHER_LIMIT} objects.")
    if not all(isinstance(each, dict) for each in prompts):
        raise AskedError("Each of prompts is a JSON object.")
    _no_more(fields)
    return [Asked(model, lens, _request(dict(each))) for each in prompts]


def _request(fields: dict[str, Any]) -> Request:
    """Return what is asked of one prompt."""
    edits = fields.pop("edits", [])
    if not isinstance(edits, list) or len(edits) > EDITS_LIMIT:
        raise AskedError(f"edits is a list of at most {EDITS_LIMIT} texts. Remove some.")
    try:
        request = Request(
            _text(fields, "prompt", PROMPT_LIMIT),
            positions=_text(fields, "positions", default=Request.positions),
            answers=_texts(fields, "answer"),
            alternatives=_texts(fields, "alternatives"),
            track=_texts(fields, "track"),
            chat=_flag(fields, "chat"),
            top_k=_count(fields, "top_k", Request.top_k, TOP_LIMIT),
            leaders=True,
            edits=tuple(_checked(edit, "edits", EDIT_LIMIT) for edit in edits),
        )
    except EditError as error:
        raise AskedError(str(error)) from error
    _no_more(fields)
    return request


def read_name(body: bytes, key: str) -> str:
    """Return the one name that a request consists of."""
    fields = dict(_object(body))
    name = _text(fields, key)
    _no_more(fields)
    return name


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AskedError("The request is not JSON.") from error
    if not isinstance(value, dict):
        raise AskedError("A request is a JSON object.")
    return value


def _text(fields: dict[str, Any], key: str, limit: int = TEXT_LIMIT, default: str | None = None) -> str:
    return _checked(fields.pop(key, default), key, limit)


def _texts(fields: dict[str, Any], key: str) -> tuple[str, ...]:
    values = fields.pop(key, [])
    if not isinstance(values, list) or len(values) > TEXTS_LIMIT:
        raise AskedError(f"{key} is a list of at most {TEXTS_LIMIT} texts.")
    return tuple(_checked(value, key, TEXT_LIMIT) for value in values)


def _checked(value: Any, key: str, limit: int) -> str:
    if not isinstance(value, str):
        raise AskedError(f"{key} is missing or not a text.")
    if len(value) > limit:
        raise AskedError(f"{key} has {len(value):,} characters, and at most {limit:,} are taken here. Shorten it.")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise AskedError(f"{key} holds half of a character (a lone surrogate), which no tokenizer takes. Remove it.")
    return value


def _flag(fields: dict[str, Any], key: str) -> bool:
    value = fields.pop(key, False)
    if not isinstance(value, bool):
        raise AskedError(f"{key} is true or false.")
    return value


def _count(fields: dict[str, Any], key: str, default: int, limit: int) -> int:
    value = fields.pop(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
        raise AskedError(f"{key} is a whole number from 1 to {limit}.")
    return value


def _no_more(fields: dict[str, Any]) -> None:
    if fields:
        raise AskedError(f"A request has no {sorted(fields)[0][:40]!r}.")
