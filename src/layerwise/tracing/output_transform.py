"""The output transform, measured: what a model's own forward makes of logits of every size."""

import dataclasses
import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.own_forward import own_output_head
from layerwise.errors import UnsupportedModelError
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.output_head.output_head import OutputTransform
from layerwise.tracing.identity_check import identity_limit, largest_difference

_SIZES = (2.0, 20.0, 200.0, 2000.0)
"""Of the largest logit in each row, before the transform: a soft-cap that few prompts reach binds at one of them."""

_FITTED = 2048
"""Logits of each row that a transform is fitted to."""

_EPS = torch.finfo(torch.float32).eps

_SLACK = 64
"""Roundings of the largest logit that float32 may add up to: a dot product's grow with its length."""


def measured(model: LoadedModel) -> LoadedModel:
    """Return a model whose head has the output transform that the model's own forward applies.

    Settings give it a name in each architecture; an architecture of its own may call it anything,
    and a soft-cap does not show at small logits. So chosen vectors are put after the model's final
    norm and its own logits compared; the settings' transform holds if they agree, else the one that
    fits all of them.

    Raises:
        UnsupportedModelError: no scale and soft-cap explain the model's logits.
    """
    normed = _chosen(model)
    raw = dataclasses.replace(model.output_head, transform=OutputTransform()).logits(normed.float())
    own = own_output_head(model, normed)
    if own.shape != raw.shape:
        raise UnsupportedModelError(
            f"{type(model.hf).__name__} cannot be read layer by layer: its unembedding gives {raw.shape[1]:,} logits, "
            f"and its own forward returns {own.shape[1]:,}, so it does something else than unembed. Which token each "
            "logit is for cannot be said. Give the model an unembedding of the rows that it returns."
        )
    for transform in (model.output_head.transform, *_fitted(raw, own)):
        if _excess(model, transform, raw, own) <= 1:
            return dataclasses.replace(model, output_head=dataclasses.replace(model.output_head, transform=transform))
    excess = _excess(model, model.output_head.transform, raw, own)
    raise UnsupportedModelError(
        f"{type(model.hf).__name__} cannot be read layer by layer: after its final norm it does something else than "
        "unembed, scale and soft-cap. Chosen vectors there, with logits of up to "
        f"{_SIZES[-1]:.0f}, come out of its own forward up to {excess:.3g} times "
        "as far from the readout's as rounding explains, and every layer's numbers would be off."
    )


def _chosen(model: LoadedModel) -> Float[Tensor, "row d_model"]:
    """Return vectors whose logits are of the sizes wanted, in the model's precision."""
    head = dataclasses.replace(model.output_head, transform=OutputTransform(), bias=None)
    d_model = head.weight.shape[1]
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(len(_SIZES), d_model, generator=draw).to(model.device)
    largest = head.logits(vectors).abs().amax(dim=-1, keepdim=True).clamp_min(1e-30)
    sizes = torch.tensor(_SIZES, device=model.device)[:, None] / max(1.0, abs(model.output_head.transform.scale))
    # float16 ends at 65504, which small unembeddings would need more than.
    room = torch.finfo(model.dtype).max / 8 / vectors.abs().amax(dim=-1, keepdim=True)
    return (vectors * torch.minimum(sizes / largest, room)).to(model.dtype)


def _fitted(raw: Tensor, own: Tensor) -> list[OutputTransform]:
    """Return the scale that fits best by itself (a shift changes no probability), and scale and soft-cap together."""
    from scipy.optimize import least_squares

    every = max(1, raw.shape[1] // _FITTED)
    x, y = (logits[:, ::every].double().cpu().numpy() for logits in (raw, own))
    if not np.isfinite(y).all() or not y.any():
        return []
    weight = 1 / np.abs(x).max(axis=1, keepdims=True)  # each row counts alike
    apart = (x - x.mean(axis=1, keepdims=True)) * weight
    scale = float((apart * y * weight).sum() / (apart * x * weight).sum())

    def wrong(log: np.ndarray) -> np.ndarray:
        inner, cap = np.exp(log)
        return (weight * (cap * np.tanh(inner * x / cap) - y)).ravel()

    start = np.log([max(abs(float((x[0] * y[0]).sum() / (x[0] ** 2).sum())), 1e-6), float(np.abs(y).max())])
    inner, cap = np.exp(least_squares(wrong, start, xtol=1e-12, ftol=1e-12, gtol=1e-12).x)
    return [OutputTransform(scale), OutputTransform(float(inner), float(cap))]


def _excess(model: LoadedModel, transform: OutputTransform, raw: Tensor, own: Tensor) -> float:
    """Return the largest difference of a row's log-probabilities, as a multiple of what rounding explains."""
    worst = 0.0
    for row, expected in zip(raw, own, strict=True):
        scaled = row * transform.scale  # what is rounded: a soft-cap may leave little of it
        limit = max(identity_limit(model.dtype, scaled), _SLACK * _EPS * float(scaled.abs().max()))
        difference = largest_difference(transform.apply_(row.clone()), expected) / limit
        worst = math.inf if math.isnan(difference) else max(worst, difference)
    return worst
