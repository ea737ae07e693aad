"""A fitted lens's card: what it is, what it was fitted on, and how it does on held-out text. Needs no PyTorch."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

from layerwise.errors import LensError
from layerwise.lens_spec import METHODS, LensSpec, method_spec
from layerwise.text import one_line

_SUM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class LensCard:
    """All that is known of a fitted lens beside its numbers: what `lens.json` holds."""

    method: str
    """A name in `lens_spec.METHODS`."""
    model: str | None
    """As it is shown (`types.shown_name`); None where a published file does not say."""
    n_layers: int | None
    """Blocks of the model; None where a published file does not say."""
    d_model: int
    layers: tuple[int, ...]
    """Layers that have a translator, in order; layer n needs none."""
    tensors_sum: str
    """SHA-256 of the file with the numbers."""
    unembedding_sum: str | None
    """Of the model's W_U (`lenses.unembedding`); None where a published file does not say."""
    weights_sum: str | None
    """Of the model's weights, as in `ModelInfo`."""
    estimator: dict[str, Any] = field(default_factory=dict)
    """Settings that determine the numbers, beside model and text."""
    text: dict[str, Any] = field(default_factory=dict)
    """What it was fitted on: `sum`, `documents`, `windows`, `tokens`, `length`, and the same of what was held out."""
    held_out: dict[str, Any] = field(default_factory=dict)
    """Figures on held-out text, by name; those by layer are lists along `layers`."""
    versions: dict[str, str] = field(default_factory=dict)
    format: str = "layerwise"
    """What wrote it: ``layerwise``, or whose published file it is."""

    def spec(self, name: str, notes: tuple[str, ...] = ()) -> LensSpec:
        """Return what it is known by under a name, and what has to be said beside what it reads."""
        return replace(method_spec(self.method), name=name, sum=self.tensors_sum, notes=notes)

    def missing(self, n_layers: int) -> list[int]:
        """Return the layers before the last that have no translator."""
        return sorted(set(range(n_layers)) - set(self.layers))

    def expect_sane(self) -> None:
        """Raise ValueError where a part is of the right type and still cannot be true."""
        if self.method not in METHODS:
            raise ValueError(f"method: expected one of {', '.join(METHODS)}; got {one_line(repr(self.method), 40)}")
        if self.d_model < 1 or (self.n_layers is not None and self.n_layers < 1):
            raise ValueError("d_model and n_layers: expected at least 1")
        if not self.layers or list(self.layers) != sorted(set(self.layers)) or self.layers[0] < 0:
            raise ValueError("layers: expected some, each once and in order")
        if self.n_layers is not None and self.layers[-1] >= self.n_layers:
            raise ValueError(f"layers: expected less than n_layers ({self.n_layers}); got {self.layers[-1]}")
        if not _SUM.fullmatch(self.tensors_sum):
            raise ValueError("tensors_sum: expected 64 hexadecimal digits")


def expect_every_layer(card: LensCard, shown: str, n_layers: int) -> None:
    """Stop where a lens lacks a layer that a study would read as if it were there. Layer 0 published ones may lack.

    Raises:
        LensError: it does.
    """
    if missing := [layer for layer in card.missing(n_layers) if layer]:
        raise LensError(
            f"The {shown} lens has no translator for {layers_named(missing)} of {n_layers}. A trace reads such layers "
            "as the logit lens does and says so; in a study's figures they would pass for the lens's. Fit all layers."
        )


def layers_named(layers: list[int]) -> str:
    """Return ``layer 0``, or ``layers 0, 3 and 4``; of many the first ones and how many there are."""
    if len(layers) == 1:
        return f"layer {layers[0]}"
    if len(layers) > 8:
        return f"{len(layers)} layers ({', '.join(map(str, layers[:6]))}, …)"
    return f"layers {', '.join(map(str, layers[:-1]))} and {layers[-1]}"
