"""A transformers model that has its weights in memory, taken apart for the lens."""

from collections import Counter
from typing import Any

import torch

from layerwise.errors import ModelError
from layerwise.models.anatomy.decoder import find_parts
from layerwise.models.checkpoint.checkpoint import Checkpoint
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.output_head.output_head import make_output_head
from layerwise.models.residency.residency import Resident
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.text import harmless


def take_apart(name: str, hf_model: Any, hf_tokenizer: Any, checkpoint: Checkpoint | None) -> LoadedModel:
    """Return a transformers model and its tokenizer as what is read layer by layer.

    Args:
        name: how it is called in results.
        hf_model: the model, which stays as it is.
        hf_tokenizer: its tokenizer.
        checkpoint: whose weights it has; None for a model that was handed over in memory.

    Raises:
        ModelError: weights are not in memory, or the model is no decoder with one chain of blocks.
    """
    _expect_in_memory(hf_model)
    parts = find_parts(hf_model)
    unembedding: Any = parts.unembedding
    return LoadedModel(
        name=name,
        hf=hf_model,
        tokenizer=tokenizer_for(hf_model, hf_tokenizer),
        parts=parts,
        output_head=make_output_head(hf_model.config, parts),
        checkpoint=checkpoint,
        residency=Resident(parts.blocks),
        device=unembedding.weight.device,
        dtype=_coarsest(unembedding.weight.dtype, _computed_in(parts.blocks)),
        parameters=count_parameters(hf_model),
    )


def take_apart_again(model: LoadedModel, *, same_weights: bool) -> LoadedModel:
    """Return a model in memory as it is now that it was changed; with other weights, it is no checkpoint's any more."""
    return take_apart(model.name, model.hf, model.tokenizer.hf, model.checkpoint if same_weights else None)


def tokenizer_for(hf_model: Any, hf_tokenizer: Any) -> Tokenizer:
    """Return a model's tokenizer, which refuses tokens that the model has no embedding for."""
    return Tokenizer(hf_tokenizer, getattr(hf_model.get_input_embeddings(), "num_embeddings", None))


def count_parameters(hf_model: Any) -> int:
    """Return the number of a model's weights, tied ones once."""
    return sum(parameter.numel() for parameter in hf_model.parameters())


def _expect_in_memory(hf_model: Any) -> None:
    """Stop at a model whose weights another package keeps elsewhere between calls."""
    if offloaded := [n for n, parameter in hf_model.named_parameters() if parameter.is_meta]:
        raise ModelError(
            f"{len(offloaded)} weights of {type(hf_model).__name__} are not in memory ({harmless(offloaded[0])}, …): "
            "accelerate keeps them elsewhere between calls (device_map, cpu_offload, disk_offload), where the lens "
            "cannot read them. Load the model without that, or give lw.load its folder with memory=…: layerwise "
            "streams it from disk itself."
        )


def _coarsest(*dtypes: torch.dtype | None) -> torch.dtype:
    """Return the precision that rounding depends on: head and blocks may have different ones."""
    return max((dtype for dtype in dtypes if dtype is not None), key=lambda dtype: torch.finfo(dtype).eps)


def _computed_in(blocks: Any) -> torch.dtype | None:
    """Return the precision that most weights of the blocks have; None where they are packed."""
    counted = Counter[torch.dtype]()
    for parameter in blocks.parameters():
        if parameter.is_floating_point() and parameter.itemsize > 1:
            counted[parameter.dtype] += parameter.numel()
    return max(counted, key=lambda dtype: counted[dtype]) if counted else None
