"""Lenses of random numbers, for tests of what surrounds fitted ones."""

from pathlib import Path

import torch

import layerwise as lw
from layerwise.lenses.card import LensCard
from layerwise.lenses.fitted import LowRankTranslator, Translator
from layerwise.lenses.folder import save_lens
from layerwise.lenses.unembedding import unembedding_sum


def random_translators(n_layers: int, d_model: int, seed: int = 0, scale: float = 0.1) -> dict[int, Translator]:
    """Return affine translators of all layers, near the identity and all different."""
    draw = torch.Generator().manual_seed(seed)
    return {
        layer: Translator(
            torch.eye(d_model) + scale * torch.randn(d_model, d_model, generator=draw),
            scale * torch.randn(d_model, generator=draw),
        )
        for layer in range(n_layers)
    }


def low_rank_translators(n_layers: int, d_model: int, rank: int = 3) -> dict[int, LowRankTranslator]:
    draw = torch.Generator().manual_seed(1)
    return {
        layer: LowRankTranslator(
            torch.randn(d_model, rank, generator=draw), torch.randn(rank, d_model, generator=draw) / d_model
        )
        for layer in range(n_layers)
    }


def card_for(model: lw.Model, method: str = "ridge") -> LensCard:
    """Return the card of a lens of a model; layers and sum are filled in when it is saved."""
    info, head = model.info, model._loaded.output_head
    return LensCard(
        method=method,
        model=info.name,
        n_layers=info.n_layers,
        d_model=info.d_model,
        layers=(),
        tensors_sum="",
        unembedding_sum=unembedding_sum(head),
        weights_sum=info.weights_sum,
        estimator={"shrinkage": 0.5},
        held_out={"kl_bits": [1.0] * info.n_layers},
    )


def saved_lens(folder: Path, model: lw.Model, method: str = "ridge", seed: int = 0) -> Path:
    """Write a random lens of a model, and return its folder."""
    translators = random_translators(model.n_layers, model.info.d_model, seed)
    save_lens(folder, card_for(model, method), translators, "float32")
    return folder
