"""What edits are asked for: data that names no tensors, as it stands in recipes, traces and on the command line."""

import dataclasses
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_origin, get_type_hints

from layerwise.errors import EditError, PromptError
from layerwise.sites import KINDS, Site
from layerwise.text import one_line


@dataclass(frozen=True)
class EditSpec:
    """An edit of one site, or of all blocks' sites of a kind.

    Raises:
        EditError: a value is none that the edit has.
    """

    site: str
    """A site's name (``blocks.3.attn.hook_z[5]``), ``layer 12`` for the residual stream there, or a kind alone
    (``mlp_out``) for every block that has it."""
    positions: str = "all"
    """``all``, ``last``, indices and slices as in ``0,3:5,-1``; of patterns, those of the queries."""

    def __post_init__(self) -> None:
        if self.site not in KINDS:
            _expect_site(self.site)

    @classmethod
    def name(cls) -> str:
        """What the command line calls this edit."""
        return next(name for name, each in OPERATIONS.items() if each is cls)

    def __str__(self) -> str:
        """Return what `parse` reads."""
        more = [
            f"{field.name}={shlex.quote(str(value))}"
            for field in dataclasses.fields(self)[2:]
            if (given := getattr(self, field.name)) != field.default
            for value in (given if isinstance(given, tuple) else [given])
        ]
        at = "" if self.positions == "all" else f"@{self.positions}"
        return " ".join([self.name(), shlex.quote(self.site + at), *more])


@dataclass(frozen=True)
class Zero(EditSpec):
    """Zeros in place of the values (zero ablation)."""


@dataclass(frozen=True)
class Scale(EditSpec):
    """The values times a factor."""

    factor: float = 2.0


@dataclass(frozen=True)
class Patch(EditSpec):
    """The values that another prompt has, or another site (activation patching)."""

    source: str = ""
    """The other prompt; the same one if only `of` is given."""
    at: str = ""
    """Its positions, as many as are changed, or one for all of them; the same ones if not given."""
    of: str = ""
    """The site whose values are taken; the same one if not given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source and not self.of:
            raise EditError(f"A patch of {self.site} takes its values from another prompt: add source='…'.")
        if self.of:
            _expect_site(self.of)
            if self.site in KINDS:
                raise EditError(f"A patch of every {self.site} has no one site to take its values of, {self.of}.")


@dataclass(frozen=True)
class Mean(EditSpec):
    """One vector for all positions: the mean over positions of other prompts (mean ablation)."""

    over: tuple[str, ...] = ()
    """The prompts."""
    at: str = "1:"
    """Their positions; the first, on which much attention rests for no reason of its own, is left out by default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _expect_prompts(self)


@dataclass(frozen=True)
class Resample(EditSpec):
    """For each position the values of one that is drawn from other prompts (resample ablation)."""

    over: tuple[str, ...] = ()
    """The prompts."""
    at: str = "1:"
    """Their positions that are drawn from."""
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _expect_prompts(self)


@dataclass(frozen=True)
class Noise(EditSpec):
    """The values with normally distributed noise added (Meng et al. 2022)."""

    deviation: float = 1.0
    """Standard deviation of the noise, in the values' own unit."""
    seed: int = 0


@dataclass(frozen=True)
class Cut(EditSpec):
    """Queries that do not see some keys: attention knockout (Geva et al. 2023)."""

    keys: str = "0"
    """Positions that are not seen."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.site if self.site in KINDS else site_of(self.site).kind) != "pattern":
            raise EditError(f"What is cut are edges of attention: expected a pattern as the site, got {self.site}.")


OPERATIONS: dict[str, type[EditSpec]] = {
    "zero": Zero,
    "scale": Scale,
    "patch": Patch,
    "mean": Mean,
    "resample": Resample,
    "noise": Noise,
    "cut": Cut,
}
"""By the name that the command line and recipes have for them."""


def site_of(text: str) -> Site:
    """Return the site that a name, or ``layer 12``, stands for. Raises PromptError."""
    if text.startswith("layer"):
        number = text.removeprefix("layer").strip()
        if number.isdigit():
            return Site.at_layer(int(number))
    return Site.parse(text)


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


def _spec(operation: str, site: str, positions: str, given: Mapping[str, list[str]]) -> EditSpec:
    """Return the edit whose own values are given as texts. Raises EditError."""
    kind = OPERATIONS.get(operation)
    if kind is None:
        raise EditError(f"There is no edit called {one_line(repr(operation), 60)}; there are {', '.join(OPERATIONS)}.")
    own = {name: hint for name, hint in get_type_hints(kind).items() if name not in get_type_hints(EditSpec)}
    if unknown := [name for name in given if name not in own]:
        what = f"it has {', '.join(own)}" if own else "it has no values"
        raise EditError(f"{operation} has no {one_line(repr(unknown[0]), 60)}; {what}.")
    return kind(site, positions, **{name: _read(name, values, own[name]) for name, values in given.items()})


def _expect_site(name: str) -> None:
    try:
        site_of(name)
    except PromptError as error:
        raise EditError(str(error)) from error


def _expect_prompts(spec: "Mean | Resample") -> None:
    if not spec.over or not all(spec.over):
        raise EditError(f"{spec.name()} {spec.site} is over other prompts: add over='…', once for each.")


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise EditError(f"{one_line(repr(word), 60)} sets nothing; expected NAME=VALUE, as in factor=0.5.")
    return name, value


def _read(name: str, values: list[str], kind: Any) -> Any:
    """Return a value of the type that a field has."""
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
