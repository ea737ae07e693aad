"""What one architecture of llama.cpp's means in transformers, and what all of them have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from layerwise.models.gguf.conversions import gate_and_up
from layerwise.models.gguf.metadata import Metadata
from layerwise.models.gguf.rotary import rotary
from layerwise.models.gguf.rules import Rule, blocks


@dataclass(frozen=True)
class Description:
    """A model as transformers makes it, and where its parameters come from."""

    model_type: str
    """transformers' name of the architecture."""
    settings: dict[str, Any]
    """For its configuration class: all that its forward pass depends on."""
    rules: list[Rule]
    unused: frozenset[str] = frozenset()
    """Tensors that some files have and the model has no need of."""


@dataclass(frozen=True)
class Family:
    """One architecture of llama.cpp's."""

    name: str
    """``general.architecture``."""
    describe: Callable[[Metadata], Description]
    """Reads the file's keys."""


OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
"""Tensors outside the blocks, in most architectures."""

BLOCK = "model.layers.{}"

ATTENTION = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
}

GATED_MLP = {"ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def gates_and_ups(experts: str) -> Rule:
    """Return the rule for experts' gates and ups, which files have apart and transformers in one parameter."""
    return Rule(("blk.{}.ffn_gate_exps.weight", "blk.{}.ffn_up_exps.weight"), (f"{experts}.gate_up_proj",), gate_and_up)


EXPERTS = [
    *blocks(BLOCK, {"ffn_gate_inp": "mlp.gate", "ffn_down_exps.weight": "mlp.experts.down_proj"}),
    gates_and_ups(f"{BLOCK}.mlp.experts"),
]

NORMS = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}


def sizes(metadata: Metadata, *, key_heads: int | None = None, width: int | None = None) -> dict[str, Any]:
    """Return the settings that nearly every decoder has, under transformers' usual names.

    Args:
        metadata: the file's.
        key_heads: how many heads have keys of their own, where that differs between blocks.
        width: of the MLPs, where ``feed_forward_length`` doesn't say it.
    """
    heads = metadata.uniform("attention.head_count", least=1)
    return {
        **ends(metadata),
        "hidden_size": metadata.count("embedding_length", least=1),
        "intermediate_size": width or metadata.uniform("feed_forward_length", least=1),
        "num_hidden_layers": depth(metadata),
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads or metadata.uniform("attention.head_count_kv", heads, least=1),
        "max_position_embeddings": metadata.count("context_length", least=1),
    }


def ends(metadata: Metadata) -> dict[str, Any]:
    """Return the settings of embeddings and head: their rows, whether they are one matrix, and the special tokens."""
    metadata.count("vocab_size", None)  # what counts is how many rows there are
    tokens = {name: metadata.token(name) for name in ("bos", "eos", "padding")}
    return {
        "vocab_size": metadata.rows("token_embd.weight"),
        "tie_word_embeddings": not metadata.has("output.weight"),
        "bos_token_id": tokens["bos"],
        "eos_token_id": tokens["eos"],
        "pad_token_id": tokens["padding"],
    }


def depth(metadata: Metadata) -> int:
    """Return the number of blocks that predict the next token; those that predict further ones come after them."""
    return metadata.count("block_count", least=1) - metadata.count("nextn_predict_layers", 0)


def head_size(metadata: Metadata) -> int:
    """Return the numbers in a head's query, key and value."""
    heads, width = metadata.uniform("attention.head_count", least=1), metadata.count("embedding_length", least=1)
    size = metadata.count("attention.key_length", None, least=1)
    if size is None:
        if width % heads:
            raise metadata.unsupported(f"divides a width of {width} among {heads} heads")
        size = width // heads
    if metadata.count("attention.value_length", size) != size:
        raise metadata.unsupported("has keys and values of different lengths")
    return size


def usual_head_size(metadata: Metadata) -> int:
    """Return `head_size` of an architecture whose class in transformers divides the width among the heads."""
    size, usual = (
        head_size(metadata),
        metadata.count("embedding_length", least=1) // metadata.uniform("attention.head_count", least=1),
    )
    if size != usual:
        raise metadata.unsupported(f"has heads of {size} where transformers' class makes {usual} of the width")
    return size


def rms_eps(metadata: Metadata) -> float:
    """Return what an RMS norm adds to the mean square."""
    return float(metadata.number("attention.layer_norm_rms_epsilon"))


def layer_norm_eps(metadata: Metadata) -> float:
    """Return what a layer norm adds to the variance."""
    return float(metadata.number("attention.layer_norm_epsilon"))


def biased(metadata: Metadata, tensor: str) -> bool:
    """Return whether a tensor has a bias beside it, in whichever block."""
    return any(name.startswith("blk.") and name.endswith(f".{tensor}.bias") for name in metadata.tensors)


def window_types(metadata: Metadata, blocks: int, every: int) -> list[str]:
    """Return each block's kind of attention: the last of every so many looks at the whole text, the others do not.

    The file may say which blocks they are, or another number than the architecture's usual `every`; by 0, llama.cpp
    means that none looks at the whole text.
    """
    key = "attention.sliding_window_pattern"
    said = metadata.entries(key, [every])
    if len(said) == 1 and not isinstance(said[0], bool):
        near = [said[0] == 0 or index % said[0] < said[0] - 1 for index in range(blocks)]
    else:
        near = metadata.per_block(key, blocks)
    return ["sliding_attention" if each else "full_attention" for each in near]


def plain_rotary(metadata: Metadata, size: int, **how: Any) -> dict[str, Any]:
    """Return the settings of one set of rotary frequencies for all blocks."""
    return {"rope_parameters": rotary(metadata, size, **how)}
