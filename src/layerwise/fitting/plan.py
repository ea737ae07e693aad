"""What a fit is to do: data only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerwise.errors import LensError

LENGTH = 128
"""Tokens of a window by default, as in the Jacobian lens's paper."""


@dataclass(frozen=True)
class FitRequest:
    """What was asked for; what is None is left to the method. `Model.fit_lens` describes each."""

    method: str
    documents: Sequence[str] | None = None
    """None for text that the model writes."""
    count: int | None = None
    length: int | None = None
    layers: str | None = None
    until: float | None = None
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FitPlan:
    """A request for one model, with what the method does by default filled in."""

    method: str
    texts: int
    """Windows of text to fit on at most."""
    length: int
    """Tokens of a window."""
    layers: tuple[int, ...]
    """That get a translator."""
    until: float | None
    """Fitting ends before all text is used where the halves' lenses say the same likeliest token at so many of the
    held-out positions (median over layers); None to use all of it."""
    seed: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    """The method's own settings."""

    @property
    def estimator(self) -> dict[str, Any]:
        """What a card says of how the numbers were found. `texts` and `until` say only how much text was used."""
        return {"length": self.length, **self.options}


def partial_folder(out: Path) -> Path:
    """Return where a fit that is not done yet keeps what it has."""
    return out.with_name(f"{out.name}.partial")


def chosen_layers(given: str | None, n_layers: int) -> tuple[int, ...]:
    """Return the layers that a text names: ``"0,4:8,-1"`` as Python counts; all before the last without one.

    Raises:
        LensError: there are no such layers.
    """
    every = range(n_layers)
    if given is None:
        return tuple(every)
    chosen: set[int] = set()
    for part in given.split(","):
        try:
            bounds = [int(bound) if bound.strip() else None for bound in part.split(":")]
            if len(bounds) == 1 and bounds[0] is not None:
                chosen.add(every[bounds[0]])
            elif len(bounds) in (2, 3):
                chosen |= {*every[slice(*bounds)]}
            else:
                raise ValueError
        except (ValueError, IndexError):
            raise LensError(
                f"{part.strip()!r} names no layers to fit. Expected numbers and ranges as in 0,4:8,-1, of layers 0 to "
                f"{n_layers - 1}; layer {n_layers} is the output, which needs no translator."
            ) from None
    if not chosen:
        raise LensError(f"{given!r} names no layer; there are layers 0 to {n_layers - 1} to fit.")
    return tuple(sorted(chosen))
