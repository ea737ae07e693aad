"""Fitted lenses: a translator for each layer, then the model's own final norm and output head."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.lens_spec import LensSpec
from layerwise.lenses.card import LensCard
from layerwise.models.output_head.output_head import OutputHead
from layerwise.readout.lenses import Lens, States

RAISED_BYTES = 1 << 30
"""Translators that take no more in float32 are kept so; larger ones as they are stored, and raised as they are used."""


@dataclass(frozen=True, eq=False)
class Translator:
    """An affine map of one layer's states to what the last layer's would be: A h + b.

    Belrose et al. (2023) call it so.
    """

    matrix: Float[Tensor, "d_model d_model"]
    """A: what it gives is its rows' products with a state."""
    bias: Float[Tensor, " d_model"] | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What it consists of, by the names that a lens's file has for them."""
        return {"matrix": self.matrix} | ({} if self.bias is None else {"bias": self.bias})

    def whole(self) -> Float[Tensor, "d_model d_model"]:
        """Return A."""
        return self.matrix

    def apply(self, states: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any d_model"]:
        """Return A h + b in float32."""
        return torch.nn.functional.linear(states.float(), self.matrix.float(), _raised(self.bias))

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Translator":
        """Return it on a device, in a precision if one is given."""
        return replace(self, **{name: tensor.to(device, dtype) for name, tensor in self.tensors.items()})


@dataclass(frozen=True, eq=False)
class LowRankTranslator:
    """A translator whose matrix is the identity and a product of two thin ones: h + left (right h) + b.

    With the identity apart, a low rank is a small change: what a layer has in common with the last one costs nothing.
    """

    left: Float[Tensor, "d_model rank"]
    right: Float[Tensor, "rank d_model"]
    bias: Float[Tensor, " d_model"] | None = None

    @property
    def tensors(self) -> dict[str, Tensor]:
        """What it consists of, by the names that a lens's file has for them."""
        return {"left": self.left, "right": self.right} | ({} if self.bias is None else {"bias": self.bias})

    def whole(self) -> Float[Tensor, "d_model d_model"]:
        """Return A = I + left · right in float32."""
        return torch.eye(len(self.left), device=self.left.device) + self.left.float() @ self.right.float()

    def apply(self, states: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any d_model"]:
        """Return h + left (right h) + b in float32."""
        states = states.float()
        inner = torch.nn.functional.linear(states, self.right.float())
        return states + torch.nn.functional.linear(inner, self.left.float(), _raised(self.bias))

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "LowRankTranslator":
        """Return it on a device, in a precision if one is given."""
        return replace(self, **{name: tensor.to(device, dtype) for name, tensor in self.tensors.items()})


Translators = Mapping[int, Translator | LowRankTranslator]
"""By layer."""


class FittedLens:
    """Reads z_k = T(W_U · N_f(A_k h_k + b_k) + b_U); at layer n, the states as they are."""

    def __init__(self, spec: LensSpec, translators: Translators, card: LensCard | None = None) -> None:
        """Take translators by layer.

        Args:
            spec: what it is known by.
            translators: by layer; one without is read as it is.
            card: what else is known of it; None where it was just fitted.
        """
        self.spec, self.translators, self.card = spec, translators, card

    def rows(self, states: States, output_head: OutputHead) -> States:
        """Return N_f(A_k h_k + b_k). A layer without a translator is read as it is, which is the logit lens."""
        n_places, n_layers, width = states.shape
        translated = states.new_empty(n_layers, n_places, width, dtype=torch.float32)  # whole matrices to write to
        for layer in range(n_layers):
            translator, at_layer = self.translators.get(layer), states[:, layer]
            translated[layer] = at_layer if translator is None else translator.apply(at_layer)
        return output_head.normed(translated).transpose(0, 1)

    def at(self, layer: int) -> Lens:
        """Return a lens that reads states of this layer alone."""
        alone = {0: self.translators[layer]} if layer in self.translators else {}
        return FittedLens(self.spec, alone, self.card)

    def to(self, device: torch.device) -> "FittedLens":
        """Return it with its numbers on a device, in float32 where that does not take much memory."""
        numbers = sum(tensor.numel() for each in self.translators.values() for tensor in each.tensors.values())
        dtype = torch.float32 if 4 * numbers <= RAISED_BYTES else None
        moved = {layer: each.to(device, dtype) for layer, each in self.translators.items()}
        return FittedLens(self.spec, moved, self.card)


def _raised(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.float()
