"""From a hidden state to logits, as the model itself does it: z = T(W_U · N_f(h) + b_U)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.models.anatomy.decoder import Parts, text_config
from layerwise.models.libraries.computed import copy_of
from layerwise.models.output_head.product import multiply
from layerwise.models.weights.matrix import StoredMatrix, slices_of

_MULTIPLIERS = ("logit_scale", "lm_head_multiplier")
"""Cohere's setting, and Falcon-H1's."""

_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap")
"""Gemma's setting, and RecurrentGemma's."""

_UNITS_AT_ONCE = 256
"""Unit vectors that go through the norm together."""

_LONG = 1e4
"""So long are they that the norm's epsilon is nothing beside them."""


@dataclass(frozen=True)
class OutputTransform:
    """T: what the model does to its logits last. Scale first, then soft-cap.

    Gemma: c·tanh(z / c) (Gemma Team 2024, arXiv:2408.00118, section 2). Cohere and Falcon-H1
    multiply by a constant; Granite divides by `logits_scaling`.
    """

    scale: float = 1.0
    softcap: float | None = None

    def apply_(self, logits: Tensor) -> Tensor:
        """Transform `logits` in place and return them."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        if self.softcap is not None:
            logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits

    def slope(self, transformed: Float[Tensor, "*row token"]) -> Float[Tensor, "*row token"] | float:
        """Return T′, at what T gave."""
        return self.scale if self.softcap is None else (1 - (transformed / self.softcap) ** 2) * self.scale


@dataclass(frozen=True, eq=False)
class OutputHead:
    """Final norm, unembedding and output transform, computed in float32 whatever the weights are."""

    final_norm: nn.Module
    """The model's own norm module; shared with the model if that is in float32, else a float32 copy."""
    weight: Float[Tensor, "token d_model"] | StoredMatrix
    """W_U in the precision of the checkpoint, shared with the model, or on disk."""
    bias: Float[Tensor, " token"] | None
    transform: OutputTransform

    @property
    def vocab_size(self) -> int:
        return self.weight.shape[0]

    @torch.no_grad()
    def normed(self, states: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any d_model"]:
        """Return N_f(h) in float32."""
        return self.final_norm(states.float())

    def on_cpu(self) -> "OutputHead":
        """Return this head with its tensors on the CPU (shared, if they are there already)."""
        bias = None if self.bias is None else self.bias.cpu()
        weight = self.weight.cpu() if isinstance(self.weight, Tensor) else self.weight
        return OutputHead(copy_of(self.final_norm).cpu(), weight, bias, self.transform)

    def of_tokens(self, ids: Sequence[int]) -> "OutputHead":
        """Return a head whose logits are those of some tokens alone, in their order."""
        rows = torch.tensor(ids, device=self.weight.device if isinstance(self.weight, Tensor) else None)
        weight = self.weight[rows] if isinstance(self.weight, Tensor) else self.weight.rows(rows)
        return OutputHead(self.final_norm, weight, None if self.bias is None else self.bias[rows], self.transform)

    @torch.no_grad()
    def directions(self, ids: Sequence[int]) -> Float[Tensor, "token d_model"]:
        """Return the vectors v whose products with a state are tokens' logits: z = T(v · h / σ(h) + …), σ the norm's.

        The final norm is a linear map and a division by what all numbers have in common; what the map is shows in what
        becomes of each unit vector, for which σ is the same. The vectors are W_U's rows through it: with the norm's
        gain, and without their mean where the norm takes the mean away.
        """
        rows = self.of_tokens(ids).weight
        assert isinstance(rows, Tensor)
        rows = rows.float()
        width = rows.shape[1]
        found = rows.new_empty(rows.shape)
        for some in torch.arange(width, device=rows.device).split(_UNITS_AT_ONCE):
            units = _LONG * torch.nn.functional.one_hot(some, width).float()
            found[:, some] = rows @ (self.normed(units) - self.normed(-units)).T / (2 * width**0.5)
        return found

    @torch.no_grad()
    def logits(
        self, normed: Float[Tensor, "row d_model"], out: Float[Tensor, "row token"] | None = None
    ) -> Float[Tensor, "row token"]:
        """Return T(W_U · x + b_U) for rows that are normed already, accumulated and returned in float32."""
        if out is None:
            out = normed.new_empty(normed.shape[0], self.vocab_size)
        if isinstance(self.weight, Tensor):
            multiply(normed, self.weight, out)
        else:
            for tokens, weight in slices_of(self.weight):
                multiply(normed, weight.to(normed.device), out[:, tokens])
        if self.bias is not None:
            out.add_(self.bias.float())
        return self.transform.apply_(out)


def make_output_head(config: Any, parts: Parts, weight: Tensor | StoredMatrix | None = None) -> OutputHead:
    """Return the head of a decoder, its weights shared with the model; `weight` is W_U where the model lacks it."""
    text = text_config(config)
    factors = [float(getattr(text, name, None) or 1.0) for name in _MULTIPLIERS]
    scale = math.prod(factors) / float(getattr(text, "logits_scaling", None) or 1.0)
    caps = [cap for cap in (getattr(text, name, None) for name in _SOFT_CAPS) if cap is not None]
    unembedding: Any = parts.unembedding
    bias = getattr(unembedding, "bias", None)
    return OutputHead(
        final_norm=_in_float32(parts.final_norm),
        weight=unembedding.weight.detach() if weight is None else weight,
        bias=None if bias is None else bias.detach(),
        transform=OutputTransform(scale, caps[0] if caps else None),
    )


def _in_float32(module: nn.Module) -> nn.Module:
    """Return the module itself if its parameters are in float32, else a copy raised to float32."""
    if all(parameter.dtype == torch.float32 for parameter in module.parameters()):
        return module
    return copy_of(module).float().requires_grad_(False)
