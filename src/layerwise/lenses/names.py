"""What a lens is asked for by: ``logit``, ``ridge``, ``jacobian:./my-lens``. Needs no PyTorch."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from layerwise.errors import PromptError
from layerwise.lens_spec import METHODS, SPECS
from layerwise.text import one_line

_SHOWN_LENGTH = 60
_NOT_SHOWN = re.compile(r"[^\w.-]+")
"""In a part of a path: names stand in tables, Markdown and pages, where other characters could mean something."""


@dataclass(frozen=True)
class LensName:
    """A lens as it was asked for."""

    kind: str
    """A name in `lens_spec.SPECS` or `lens_spec.METHODS`."""
    place: str | None = None
    """A path, or a name in a registry of published lenses; None for the model's own lens."""

    @property
    def is_fitted(self) -> bool:
        return self.kind in METHODS

    @property
    def shown(self) -> str:
        """What it is called in traces and tables: of a path the last part, for the others tell whose disk it is on."""
        return self.kind if self.place is None else shown_lens(self.kind, Path(self.place))


def shown_lens(method: str, place: Path) -> str:
    """Return what a lens that lies somewhere is called in traces and tables."""
    last = place.name or place.resolve().name
    return f"{method}:{_NOT_SHOWN.sub('_', last)[:_SHOWN_LENGTH] or '_'}"


def lens_name(text: str) -> LensName:
    """Return what a lens's name says.

    Raises:
        PromptError: there is no such kind of lens, or it is followed by a place that it cannot have.
    """
    kind, colon, place = text.partition(":")
    if kind in SPECS and not colon:
        return LensName(kind)
    if kind in METHODS and bool(colon) == bool(place.strip()):
        return LensName(kind, place if colon else None)
    raise PromptError(
        f"Unknown lens {one_line(repr(text), 60)}; expected one of {', '.join(SPECS)}, or a fitted one: "
        f"{', '.join(METHODS)} for the model's own, or METHOD:PATH with the folder or file that it is in."
    )


def expect_told_apart(lenses: Iterable[tuple[str, str]]) -> None:
    """Stop where two lenses would have one name in traces and tables.

    Args:
        lenses: what each is shown as, and something that is the same for equal lenses only.

    Raises:
        PromptError: there are two such; says what to do.
    """
    first: dict[str, str] = {}
    for shown, identity in lenses:
        if first.setdefault(shown, identity) != identity:
            raise PromptError(
                f"Two of the lenses would both be called {shown!r}, and what they read could not be told apart: a lens "
                "goes by the last part of its path. Rename the folder of one, or read through one at a time."
            )
