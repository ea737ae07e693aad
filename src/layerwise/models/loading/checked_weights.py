"""A checkpoint's weights beside the model that they are for: all of them are used, or it is said which are not."""

import warnings
from collections.abc import Collection, Iterable
from typing import Any

import torch

from layerwise.errors import CheckpointWarning, CorruptFileError, UnsupportedModelError
from layerwise.models.anatomy.decoder import expects_ahead, find_parts, text_config, weights_after_last_block
from layerwise.models.checkpoint.checkpoint import Checkpoint
from layerwise.models.gguf.description import weights_of
from layerwise.models.loading.from_files import model_of, settings_file
from layerwise.models.residency.assembly import empty_model
from layerwise.models.weights.expectations import expect_buffers
from layerwise.models.weights.filler import Weights
from layerwise.models.weights.safetensors import SafetensorsWeights
from layerwise.models.weights.unused import Unused, expect_all_used, expect_one_value
from layerwise.text import harmless


def empty_model_and_weights(checkpoint: Checkpoint, dtype: torch.dtype) -> tuple[Any, Weights]:
    """Return a checkpoint's model without memory for its weights, and what reads them."""
    hf_model = model_of(checkpoint, empty_model, dtype)
    if checkpoint.gguf:
        return hf_model, weights_of(checkpoint.gguf, hf_model)
    weights = checked_weights(checkpoint, hf_model)
    expect_buffers(hf_model, {weights.parameter_of(name) for name in weights.tensors})
    return hf_model, weights


def checked_weights(checkpoint: Checkpoint, hf_model: Any, unexpected: Iterable[str] = ()) -> SafetensorsWeights:
    """Return what reads a checkpoint's weights, none of which a model leaves out unsaid and all of which are numbers.

    Args:
        checkpoint: a checkpoint in the hub's layout.
        hf_model: its model, with or without its weights.
        unexpected: what transformers left out, where another package's way to unpack them was in it.

    Raises:
        CorruptFileError: weights of the decoder would be left out. Others are named in a warning.
        UnsupportedModelError: weights are packed, and the configuration does not say how.
    """
    weights = SafetensorsWeights(checkpoint.facts.tensors, hf_model)
    unused = weights.unused
    packed = bool(checkpoint.facts.config.get("quantization_config"))
    if packed:
        unused = [Unused(name, name, ()) for name in unexpected]
    elif head := expect_one_value(hf_model, weights.tensors, weights.files, weights.by_themselves):
        _warn(
            f"{harmless(str(settings_file(checkpoint)))} says that the head of {type(hf_model).__name__} is its "
            f"embedding (tie_word_embeddings), and the files hold another one, {harmless(head)}. Predictions are read "
            "with the stored one, as transformers does. Set tie_word_embeddings to false if that is right; if not, "
            "take the tensor out of the files."
        )
    ahead = _expect_all_blocks(checkpoint, hf_model, [each.parameter for each in unused])
    settings = harmless(str(settings_file(checkpoint)))
    if told := expect_all_used(hf_model, find_parts(hf_model), unused, settings, ahead):
        _warn(
            f"{len(told)} weights in the files of {harmless(str(checkpoint.folder))} are no part of "
            f"{type(hf_model).__name__} and were left out: {', '.join(map(harmless, told[:3]))}"
            f"{', …' if len(told) > 3 else ''}."
        )
    if not packed:
        weights.expect_plain_numbers()
    return weights


def expect_unpacked(checkpoint: Checkpoint, name: str) -> None:
    """Stop at weights that only another package can unpack as a whole: read as they are, they mean something else."""
    packed = checkpoint.facts.config.get("quantization_config")
    if isinstance(packed, dict):
        raise UnsupportedModelError(
            f"{name} is quantised with {harmless(str(packed.get('quant_method')))[:80]}, and only that package's own "
            "modules can read its packed weights, so it cannot be streamed. Give it enough memory to be loaded whole, "
            "or use a GGUF file or an unquantised checkpoint of the model, which can."
        )


def _expect_all_blocks(checkpoint: Checkpoint, hf_model: Any, names: Iterable[str]) -> Collection[str]:
    """Return the weights of blocks that predict further tokens ahead; stop at others after the last block.

    With blocks that the configuration leaves out, the model would be cut short without a word.
    """
    beyond = weights_after_last_block(hf_model, names)
    more = sorted(name for name, index in beyond.items() if not expects_ahead(hf_model, name, index))
    if more:
        depth = text_config(hf_model.config).num_hidden_layers
        raise CorruptFileError(
            f"{harmless(str(settings_file(checkpoint)))} asks for {depth} blocks, and the weight files hold more "
            f"({harmless(more[0])}{', …' if len(more) > 1 else ''}): the predictions would be those of a model "
            "cut short. It belongs to another model, or was edited. Download it again."
        )
    return beyond


def _warn(message: str) -> None:
    warnings.warn(message, CheckpointWarning, stacklevel=2)
