"""A fitted lens's card: what it is, what it was fitted on, and how it does on held-out text. Needs no PyTorch."""

from dataclasses import dataclass, field
from typing import Any

from layerwise.lens_spec import LensSpec, method_spec


@dataclass(frozen=True)
class LensCard:
    """All that is known of a fitted lens beside its numbers: what `lens.json` holds."""

    method: str
    """A name in `lens_spec.METHODS`."""
    model: str | None
    """As it is shown (`types.shown_name`); None where a published file does not say."""
    n_layers: int
    """Blocks of the model."""
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

    def spec(self, name: str) -> LensSpec:
        """Return what it is known by under a name."""
        kind = method_spec(self.method)
        return LensSpec(name, kind.reads, kind.ends_at_output, self.tensors_sum)
