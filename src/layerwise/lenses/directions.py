"""What a lens's reading of a token goes by."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.errors import EditError
from layerwise.lens_spec import RAW
from layerwise.lenses.fitted import FittedLens, LowRankTranslator, Translator
from layerwise.models.output_head.output_head import OutputHead
from layerwise.readout.lenses import Lens


@dataclass(frozen=True)
class Readings:
    """What a lens reads of tokens, before the final norm's division: v · h + c."""

    vectors: Float[Tensor, "token ..."]
    """v; Gurnee et al. (2026) call the rows of W_U J_k, without the norm's gain, lens vectors."""
    offsets: Float[Tensor, " token"]
    """c: of the lens's bias."""


@torch.no_grad()
def token_readings(
    lens: Lens, output_head: OutputHead, layers: Sequence[int], ids: Sequence[int], n_layers: int
) -> dict[int, Readings]:
    """Return what a lens's readings of tokens go by, at each of some layers.

    A token's logit is v · h + c, divided by what the final norm divides all tokens' by; the norm's own bias and the
    head's are added after that.

    Raises:
        EditError: the lens has nothing fitted for a layer.
    """
    if lens.spec is RAW:
        rows = output_head.of_tokens(ids).weight
        assert isinstance(rows, Tensor)
        vectors = rows.float()
    else:
        vectors = output_head.directions(ids)
    as_they_are = Readings(vectors, vectors.new_zeros(len(vectors)))
    if not isinstance(lens, FittedLens):
        return dict.fromkeys(layers, as_they_are)
    return {
        layer: as_they_are if layer == n_layers else _translated(vectors, translator_at(lens, layer))
        for layer in layers
    }


def _translated(vectors: Tensor, translator: Translator | LowRankTranslator) -> Readings:
    bias = translator.bias
    offsets = vectors.new_zeros(len(vectors)) if bias is None else vectors @ bias.to(vectors)
    return Readings(vectors @ translator.whole().to(vectors), offsets)


def translator_at(lens: FittedLens, layer: int) -> Translator | LowRankTranslator:
    """Return what a lens makes of a layer's states. Raises EditError where nothing is fitted for it."""
    if layer not in lens.translators:
        there = sorted(lens.translators)
        has = f"{there[0]} to {there[-1]}" if there else "none"
        raise EditError(f"The {lens.spec.name} lens has nothing fitted for layer {layer}; it has {has}.")
    return lens.translators[layer]
