"""The output transform, measured: what a model's own forward makes of logits of every size."""

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.own import own_head
from layerwise.errors import UnsupportedModelError
from layerwise.models.head import OutputTransform
from layerwise.models.loading import LoadedModel
from layerwise.tracing.identity import identity_limit, largest_difference

_SIZES = (2.0, 20.0, 200.0, 2000.0)
"""Of the largest logit in each row, before the transform: a soft-cap that few prompts reach binds at one of them."""

_EPS = torch.finfo(torch.float32).eps

_SLACK = 64
"""Roundings of the largest logit that float32 may add up to. Measured: 5."""


def measured(model: LoadedModel) -> LoadedModel:
    """Return a model whose head has the output transform that the model's own forward applies.

    Settings give it a name in each architecture; an architecture of its own may call it anything,
    and a soft-cap does not show at small logits. So chosen vectors are put behind the model's final
    norm and its own logits compared; the settings' transform holds if they agree, else the one that
    fits all of them.

    Raises:
        UnsupportedModelError: no scale and soft-cap explain the model's logits.
    """
    normed = _chosen(model)
    raw = dataclasses.replace(model.head, transform=OutputTransform()).logits(normed.float())
    own = own_head(model, normed)
    for transform in (model.head.transform, *_fitted(raw, own)):
        if _excess(model, transform, raw, own) <= 1:
            return dataclasses.replace(model, head=dataclasses.replace(model.head, transform=transform))
    raise UnsupportedModelError(
        f"{type(model.hf).__name__} cannot be read layer by layer: behind its final norm it does something else than "
        "unembed, scale and soft-cap. Chosen vectors there, with logits of up to "
        f"{_SIZES[-1]:.0f}, come out of its own forward up to {_excess(model, model.head.transform, raw, own):.3g} "
        "times as far from the readout's as rounding explains, and every layer's numbers would be off."
    )


def _chosen(model: LoadedModel) -> Float[Tensor, "row d_model"]:
    """Return vectors whose logits are of the sizes wanted, in the model's precision."""
    head = dataclasses.replace(model.head, transform=OutputTransform(), bias=None)
    d_model = head.weight.shape[1]
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(len(_SIZES), d_model, generator=draw).to(model.device)
    largest = head.logits(vectors).abs().amax(dim=-1, keepdim=True).clamp_min(1e-30)
    return (vectors * torch.tensor(_SIZES, device=model.device)[:, None] / largest).to(model.dtype)


def _fitted(raw: Tensor, own: Tensor) -> list[OutputTransform]:
    """Return the scale that fits best, and the soft-cap at which the largest logits end with the scale below it."""
    x, y = (logits.double().flatten().cpu() for logits in (raw, own))
    found = [float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())]
    fits = [OutputTransform(found[0])]
    cap = float(y.abs().max())
    bent = (y.abs() > 0.05 * cap) & (y.abs() < 0.9 * cap)
    if bent.any():
        inside = cap * torch.atanh(y[bent] / cap)
        fits.append(OutputTransform(float((inside * x[bent]).sum() / x[bent].square().sum()), cap))
    return [fit for fit in fits if math.isfinite(fit.scale) and fit.softcap != 0]


def _excess(model: LoadedModel, transform: OutputTransform, raw: Tensor, own: Tensor) -> float:
    """Return the largest difference of a row's log-probabilities, as a multiple of what rounding explains."""
    worst = 0.0
    for row, expected in zip(raw, own, strict=True):
        scaled = row * transform.scale  # what is rounded: a soft-cap may leave little of it
        limit = max(identity_limit(model.dtype, scaled), _SLACK * _EPS * float(scaled.abs().max()))
        difference = largest_difference(transform.apply_(row.clone()), expected) / limit
        worst = max(worst, difference) if difference == difference else math.inf
    return worst
