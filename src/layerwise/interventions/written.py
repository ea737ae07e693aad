"""Edits as text: one line each, as it stands in recipes, traces and on the command line."""

import math
import re
import shlex
from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from layerwise.errors import EditError
from layerwise.interventions.along import Add, Exchange, ProjectOut
from layerwise.interventions.specs import Cut, EditSpec, Mean, Noise, Patch, Resample, Scale, Zero
from layerwise.text import one_line

OPERATIONS: dict[str, type[EditSpec]] = {
    each.operation: each for each in (Zero, Scale, Patch, Mean, Resample, Noise, Cut, Add, ProjectOut, Exchange)
}
"""By the name that the command line and recipes have for them."""

_IN_ALL = set(get_type_hints(EditSpec))

_NUMBERS = re.compile(r"vector=([A-Za-z0-9+/]{40,}=*)")


def parse(text: str) -> EditSpec:
    """Return the edit that is written as ``OPERATION SITE[@POSITIONS] [NAME=VALUE …]``.

    Raises:
        EditError: it is no such text, there is no such edit, or a value is none that it has.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise EditError(f"The edit {one_line(repr(text), 120)} has a quotation mark that is not closed.") from error
    if len(words) < 2:
        raise EditError(
            f"{one_line(repr(text), 120)} is no edit. Expected an operation, a site and positions, as in "
            f"'zero blocks.3.hook_mlp_out@-1'; operations are {', '.join(OPERATIONS)}."
        )
    if words[1] == "layer" and len(words) > 2:  # layer 12, in two words
        words[1:3] = [f"layer {words[2]}"]
    site, _, positions = words[1].partition("@")
    given: dict[str, list[str]] = {}
    for name, value in map(_pair, words[2:]):
        given.setdefault(name, []).append(value)
    return _spec(words[0], site, positions or "all", given)


def shown(text: str) -> str:
    """Return an edit's text for people: numbers of a vector are counted instead of written out."""
    return _NUMBERS.sub(lambda found: f"vector=({len(found[1]) * 3 // 16} numbers)", text)


def _spec(operation: str, site: str, positions: str, given: Mapping[str, list[str]]) -> EditSpec:
    """Return the edit whose own values are given as texts. Raises EditError."""
    kind = OPERATIONS.get(operation)
    if kind is None:
        raise EditError(f"There is no edit called {one_line(repr(operation), 60)}; there are {', '.join(OPERATIONS)}.")
    own = {name: hint for name, hint in get_type_hints(kind).items() if name not in _IN_ALL}
    own["placebo"] = get_type_hints(EditSpec)["placebo"]
    if unknown := [name for name in given if name not in own]:
        raise EditError(f"{operation} has no {one_line(repr(unknown[0]), 60)}; it has {', '.join(own)}.")
    return kind(site, positions, **{name: _read(name, values, own[name]) for name, values in given.items()})


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise EditError(f"{one_line(repr(word), 60)} sets nothing; expected NAME=VALUE, as in factor=0.5.")
    return name, value


def _read(name: str, values: list[str], kind: Any) -> Any:
    """Return a value of the type that a field has, beside None."""
    [kind] = {*get_args(kind)} - {NoneType} if NoneType in get_args(kind) else [kind]
    if get_origin(kind) is tuple:
        return tuple(values)
    if len(values) > 1:
        raise EditError(f"{name} was given {len(values)} times, and there is one.")
    if kind is str:
        return values[0]
    try:
        value = kind(values[0])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        whole = "a whole number" if kind is int else "a number"
        raise EditError(f"{name} should be {whole}; got {one_line(repr(values[0]), 60)}.")
    return value
