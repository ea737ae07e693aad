"""What edits are asked for: data that names no tensors, as it stands in recipes, traces and on the command line."""

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

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
            try:
                site_of(self.site)
            except PromptError as error:
                raise EditError(str(error)) from error

    @classmethod
    def name(cls) -> str:
        """What the command line calls this edit."""
        return next(name for name, each in OPERATIONS.items() if each is cls)

    def __str__(self) -> str:
        """Return what `parse` reads."""
        more = [
            f"{field.name}={shlex.quote(_written(getattr(self, field.name)))}"
            for field in dataclasses.fields(self)[2:]
            if getattr(self, field.name) != field.default
        ]
        at = "" if self.positions == "all" else f"@{self.positions}"
        return " ".join([self.name(), shlex.quote(self.site + at), *more])

    def described(self) -> dict[str, Any]:
        """Return it as JSON has it; `spec_from` reads it back."""
        return {"operation": self.name(), **dataclasses.asdict(self)}


@dataclass(frozen=True)
class Zero(EditSpec):
    """Zeros in place of the values (zero ablation)."""


@dataclass(frozen=True)
class Scale(EditSpec):
    """The values times a factor."""

    factor: float = 2.0


@dataclass(frozen=True)
class Patch(EditSpec):
    """The values that another prompt has (activation patching)."""

    source: str = ""
    """The other prompt."""
    at: str = ""
    """Its positions, as many as are changed, or one for all of them; the same ones if not given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.source:
            raise EditError(f"A patch of {self.site} takes its values from another prompt: add source='…'.")


@dataclass(frozen=True)
class Cut(EditSpec):
    """Queries that do not see some keys: attention knockout (Geva et al. 2023)."""

    keys: str = "0"
    """Positions that are not seen."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.site if self.site in KINDS else site_of(self.site).kind) != "pattern":
            raise EditError(f"What is cut are edges of attention: expected a pattern as the site, got {self.site}.")


OPERATIONS: dict[str, type[EditSpec]] = {"zero": Zero, "scale": Scale, "patch": Patch, "cut": Cut}
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
    given = dict(_pair(word) for word in words[2:])
    return spec_from({"operation": words[0], "site": site, "positions": positions or "all", **given})


def spec_from(described: Mapping[str, Any]) -> EditSpec:
    """Return the edit that `described` wrote, or whose values are texts. Raises EditError."""
    name = described.get("operation")
    kind = OPERATIONS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise EditError(f"There is no edit called {one_line(repr(name), 60)}; there are {', '.join(OPERATIONS)}.")
    hints, values = get_type_hints(kind), {key: value for key, value in described.items() if key != "operation"}
    if unknown := [key for key in values if key not in hints]:
        raise EditError(f"{name} has no {one_line(repr(unknown[0]), 60)}; it has {', '.join(hints)}.")
    if "site" not in values:
        raise EditError(f"{name} needs a site, as in 'zero blocks.3.hook_mlp_out'.")
    return kind(**{key: _read(key, value, hints[key]) for key, value in values.items()})


def _pair(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise EditError(f"{one_line(repr(word), 60)} sets nothing; expected NAME=VALUE, as in factor=0.5.")
    return name, value


def _read(name: str, value: Any, kind: Any) -> Any:
    """Return a value of the type that a field has, from a text or from JSON."""
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        parts = value.split("|") if isinstance(value, str) else list(value)
        return tuple(_read(name, part, inner) for part in parts)
    try:
        if kind in (int, float) and not isinstance(value, bool):
            return kind(value)
    except (TypeError, ValueError):
        pass
    if kind is str and isinstance(value, str):
        return value
    raise EditError(f"{name} should be {'a text' if kind is str else 'a number'}; got {one_line(repr(value), 60)}.")


def _written(value: Any) -> str:
    return "|".join(map(_written, value)) if isinstance(value, tuple) else str(value)
