"""Lenses and directions of edits: which vectors an edit goes along, in a model's own numbers."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import EditError
from layerwise.interventions import changes
from layerwise.interventions.along import Add, Along, Exchange, ProjectOut, numbers_of
from layerwise.interventions.specs import EditSpec, Patch
from layerwise.lenses.directions import Readings, token_readings, translator_at
from layerwise.lenses.fitted import FittedLens
from layerwise.lenses.opening import open_lens
from layerwise.models.loading.loaded import LoadedModel
from layerwise.sites import Site
from layerwise.tracing.prompt_tokens import single_token

_READABLE = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
"""Kinds of site whose values are of the residual stream's space, in which lenses read."""

_SUM_SHOWN = 16
"""Digits of a lens's sum that tell it from any other."""


def with_sum(model: LoadedModel, spec: EditSpec) -> EditSpec:
    """Return an edit with the sum of the lens that it goes by: it is kept, and then holds for that lens alone.

    Raises:
        EditError: it names the sum of another lens than the one that is found.
        LensError: there is no such lens, or it is another model's.
    """
    if not isinstance(spec, Along | Patch) or not spec.lens:
        return spec
    found = open_lens(spec.lens, model).spec.sum or ""
    if spec.sum and not found.startswith(spec.sum):
        raise EditError(
            f"{spec.operation} {spec.site} is through the lens {spec.lens} whose numbers have the sum {spec.sum}…; the "
            f"one that is found has {found[:_SUM_SHOWN] or 'none'}. It was fitted again, or is another one."
        )
    return replace(spec, sum=found[:_SUM_SHOWN])


def translate(model: LoadedModel, lens: str, site: Site) -> Callable[[Tensor], Tensor]:
    """Return what a lens makes of a site's values. Raises EditError where it reads none there."""
    opened, layer = open_lens(lens, model), _layer_of(site)
    if not isinstance(opened, FittedLens) or layer == model.n_layers:
        return lambda values: values
    return translator_at(opened, layer).apply


def given_readings(model: LoadedModel, spec: Along, site: Site) -> Readings:
    """Return the vectors that an edit names: those with which its lens reads tokens, or its numbers.

    Raises:
        EditError: a lens does not read there.
        PromptError: a text is no single token.
    """
    if spec.vector:
        return as_readings(torch.stack([torch.from_numpy(numbers_of(each)) for each in spec.vector]))
    ids = [single_token(model.tokenizer, text).id for text in spec.token]
    layer = _layer_of(site)
    return token_readings(open_lens(spec.lens, model), model.output_head, [layer], ids, model.n_layers)[layer]


def as_readings(vectors: Float[Tensor, "direction ..."]) -> Readings:
    """Return vectors that are no lens's."""
    return Readings(vectors, vectors.new_zeros(len(vectors)))


def along(spec: Along, site: Site, read: Readings, positions: tuple[int, ...] | None) -> changes.Change:
    """Return the change of a site along vectors."""
    match spec:
        case Add(strength=strength, placebo=seed):
            vector = read.vectors[0]
            if seed is not None:
                flat, drawing = vector.flatten(), torch.Generator().manual_seed(seed)
                vector = changes.moved_at_random(torch.zeros_like(flat), flat, drawing).view_as(vector)
            return changes.add(site, vector, positions, strength=strength, as_long=bool(spec.token))
        case ProjectOut():
            return changes.project_out(site, read.vectors, positions)
        case Exchange():
            return changes.exchange(site, read.vectors, positions, offsets=read.offsets)
        case _:
            raise NotImplementedError(spec.operation)


def _layer_of(site: Site) -> int:
    """Return the layer that a site's values belong to: those inside a block, to the layer after it."""
    if site.kind not in _READABLE:
        raise EditError(
            f"A lens reads the residual stream and what is added to it ({', '.join(_READABLE)}); it reads nothing of "
            f"{site}. Give numbers, as in vector=…, or prompts toward=… and away=…"
        )
    return site.block + 1 if site.layer is None else site.layer
