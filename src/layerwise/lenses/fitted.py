"""Fitted lenses: a translator for each layer, then the model's own final norm and output head."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.lens_spec import LensSpec
from layerwise.models.output_head.output_head import OutputHead
from layerwise.readout.lenses import States


@dataclass(frozen=True, eq=False)
class Translator:
    """An affine map of one layer's states to what the last layer's would be: A h + b.

    Belrose et al. (2023) call it so.
    """

    matrix: Float[Tensor, "d_model d_model"]
    """A: what it gives is its rows' products with a state."""
    bias: Float[Tensor, " d_model"] | None = None

    def apply(self, states: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any d_model"]:
        """Return A h + b in float32."""
        return torch.nn.functional.linear(states.float(), self.matrix, self.bias)


class FittedLens:
    """Reads z_k = T(W_U · N_f(A_k h_k + b_k) + b_U); at layer n, the states as they are."""

    def __init__(self, spec: LensSpec, translators: Mapping[int, Translator]) -> None:
        """Take translators by layer, in float32."""
        self.spec, self.translators = spec, dict(translators)

    def rows(self, states: States, output_head: OutputHead) -> States:
        """Return N_f(A_k h_k + b_k). A layer without a translator is read as it is, which is the logit lens."""
        translated = states.float().clone()
        for layer, translator in self.translators.items():
            translated[:, layer] = translator.apply(states[:, layer])
        return output_head.normed(translated)
