"""What a GGUF file means: transformers' configuration and parameters, with nothing in the file left over."""

import re
from typing import Any

from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models.gguf.families import FAMILIES
from layerwise.models.gguf.family import Description
from layerwise.models.gguf.gguf_files import FACTORS, GgufModel
from layerwise.models.gguf.header import ArrayLength
from layerwise.models.gguf.metadata import INSTEAD, Metadata
from layerwise.models.gguf.parameters import GgufWeights
from layerwise.models.gguf.rules import Rules
from layerwise.models.weights.expectations import expect_buffers
from layerwise.text import harmless, one_line

_BLOCK = re.compile(r"blk\.(\d+)\.")

_HARMLESS = {
    "rope.scaling.finetuned": "says how the model was trained",
    "rope.scaling.yarn_log_multiplier": "only YaRN has it, which reads it",
}
"""Keys that change nothing, whatever they say, and why."""

_OFF = {
    "attention.causal": True,
    "pooling_type": 0,
    "expert_count": 0,
    "expert_used_count": 0,
    "expert_shared_count": 0,
    "expert_weights_scale": 1.0,
    "expert_group_count": (0, 1),
    "expert_group_used_count": (0, 1),
    "attention.sliding_window": 0,
    "attention.clamp_kqv": 0.0,
    "attention.max_alibi_bias": 0.0,
    "attention.scale": 0.0,
    "attn_logit_softcapping": 0.0,
    "final_logit_softcapping": 0.0,
    "router_logit_softcapping": 0.0,
    "logit_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "embedding_scale": (0.0, 1.0),
    "leading_dense_block_count": 0,
    "moe_every_n_layers": (0, 1),
}
"""Keys that change nothing at these values, at which llama.cpp leaves out what they are for."""


def describe(gguf: GgufModel) -> Description:
    """Return what a GGUF file means to transformers.

    Every key of its architecture is read, or known to change nothing; every tensor becomes a parameter
    or a setting. So what the file says is in the model that is made of it, or the file is refused.

    Raises:
        UnsupportedModelError: the architecture is not read from GGUF, or the file has a key or a tensor that
            is not understood; it is named.
        CorruptFileError: a key that every such model needs is missing or has an impossible value.
    """
    metadata = Metadata(gguf)
    kind = gguf.header.metadata.get("general.type", "model")
    if kind != "model":
        raise UnsupportedModelError(
            f"{metadata.file} holds no model of its own: its general.type is {harmless(str(kind))!r}. Name the file of "
            "the model that it belongs to."
        )
    family = FAMILIES.get(metadata.architecture)
    if family is None:
        raise UnsupportedModelError(
            f"{metadata.file} is of the architecture {harmless(metadata.architecture)!r}, which is not read from GGUF: "
            f"expected one of {', '.join(sorted(FAMILIES))}. {INSTEAD}"
        )
    description = family.describe(metadata)
    _expect_no_key_left(metadata)
    _expect_no_tensor_left(metadata, description)
    return description


def _expect_no_key_left(metadata: Metadata) -> None:
    for key, value in metadata.unread().items():
        if key in _HARMLESS or (key in _OFF and _is_off(value, _OFF[key])):
            continue
        shown = "an array" if isinstance(value, ArrayLength) else one_line(repr(value))[:80]
        raise UnsupportedModelError(
            f"{metadata.file} says {one_line(f'{metadata.architecture}.{key}')[:120]} is {shown}, and what that "
            "changes in a model of this architecture is not known here: its predictions would be another model's. "
            f"{INSTEAD}"
        )


def _is_off(value: Any, off: Any) -> bool:
    return not isinstance(value, ArrayLength) and value in (off if isinstance(off, tuple) else (off,))


def _expect_no_tensor_left(metadata: Metadata, description: Description) -> None:
    rules, depth = Rules(description.rules), depth_of(description)
    end = depth + metadata.count("nextn_predict_layers", 0)
    _expect_further_tokens(metadata, depth, end)
    sources: dict[str, tuple[str, ...]] = {}
    for name in metadata.tensors:
        block = _BLOCK.match(name)
        if block and int(block[1]) >= end:
            raise CorruptFileError(
                f"{metadata.file} asks for {end} blocks, and holds more ({one_line(name)[:120]}): the predictions "
                "would be those of a model cut short. It was edited, or damaged. Download it again."
            )
        if name in FACTORS or name in description.unused or _is_ahead(name, depth):
            continue  # settings, spares, and blocks that predict further tokens
        if name not in rules:
            raise UnsupportedModelError(
                f"{metadata.file} ({harmless(metadata.architecture)}) has a tensor that is not understood, "
                f"{one_line(name)[:120]}: without it, its predictions would be another model's. {INSTEAD}"
            )
        rule = rules.of(name)
        for parameter in rule.made:
            if (first := sources.setdefault(parameter, rule.stored)) != rule.stored:
                raise CorruptFileError(
                    f"{metadata.file} has both {one_line(first[0])[:120]} and {one_line(name)[:120]}, which are names "
                    "of the same weights: which of them counts is not known. It was edited. Download it again."
                )


def _expect_further_tokens(metadata: Metadata, depth: int, end: int) -> None:
    """Stop where a block of the model is said to predict further tokens, and would be left out."""
    for index in range(depth, end):
        held = [name for name in metadata.tensors if name.startswith(f"blk.{index}.")]
        if held and not any(name.startswith(f"blk.{index}.nextn.") for name in held):
            raise CorruptFileError(
                f"{metadata.file} says that block {index} predicts further tokens, and it has no tensors for that "
                "(nextn): the predictions would be those of a model cut short. It was edited. Download it again."
            )


def depth_of(description: Description) -> int:
    """Return the number of a described model's blocks."""
    return next(description.settings[name] for name in ("num_hidden_layers", "n_layer") if name in description.settings)


def weights_of(gguf: GgufModel, hf_model: Any) -> GgufWeights:
    """Return what reads a GGUF file's weights for the model that was made as `describe` describes it.

    Raises:
        UnsupportedModelError: the file has a tensor that the model has no parameter for; it is named.
        CorruptFileError: the file lacks what the model holds beside its parameters, such as the biases by which
            experts are chosen.
    """
    description = describe(gguf)
    depth = depth_of(description)
    needed = {
        name: tensor
        for name, tensor in gguf.tensors.items()
        if name not in FACTORS and name not in description.unused and not _is_ahead(name, depth)
    }
    weights = GgufWeights(needed, Rules(description.rules))
    expected = hf_model.state_dict().keys()
    for name, parameters in weights.parameters.items():
        if lacking := [each for each in parameters if each not in expected]:
            raise UnsupportedModelError(
                f"{harmless(gguf.files[0].name)} has {one_line(name)[:120]}, and {type(hf_model).__name__}, as it was "
                f"made of the file's settings, has no {harmless(lacking[0])} to take it: its predictions would be "
                f"another model's. {INSTEAD}"
            )
    expect_buffers(hf_model, {parameter for parameters in weights.parameters.values() for parameter in parameters})
    return weights


def _is_ahead(name: str, depth: int) -> bool:
    """Return whether a tensor belongs to a block that predicts further tokens."""
    block = _BLOCK.match(name)
    return block is not None and int(block[1]) >= depth
