"""Per architecture: the keys of its files, and what becomes of the checkpoint's tensors on their way there."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.gguf import keys as k
from benchmarks.gguf.keys import Keys, Settings

Parts = dict[str, Tensor]
"""Tensors by the names that the `gguf` package knows from published checkpoints."""
Change = Callable[[str, Tensor, Settings], Parts]


@dataclass(frozen=True)
class Layout:
    """How an architecture's checkpoints are laid out in a file."""

    keys: Callable[[Settings], Keys] = k.usual
    changes: dict[str, Change] = field(default_factory=dict)
    """By the end of a tensor's name without `.weight` and `.bias`; the first that fits is taken."""
    extra: Callable[[Settings], Parts] = lambda c: {}
    """Tensors that the settings make, by their names in the file."""
    drop: tuple[str, ...] = ()
    """Ends of names that are left out."""
    before: Callable[[Parts, Settings], Parts] = lambda tensors, c: tensors
    """What is done to all tensors at once, first."""


def keep(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return the tensor as it is."""
    return {name: tensor}


def plus_one(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return a gain that the model adds 1 to, with 1 added."""
    return {name: tensor + 1}


def transposed(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return a `Conv1D`'s weight [in, out] as [out, in]; its bias as it is."""
    return {name: tensor.T if tensor.dim() == 2 else tensor}


def halves_to_pairs(heads: Callable[[Settings], int]) -> Change:
    """Return a change that puts the two halves of each head, which rotate together, side by side."""

    def change(name: str, tensor: Tensor, c: Settings) -> Parts:
        by_half = tensor.unflatten(0, (heads(c), 2, -1))
        return {name: by_half.transpose(1, 2).flatten(0, 2)}

    return change


def parts_together(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return query, key and value of [head, part, row] as [part, head, row]."""
    heads = k.first(c, "num_attention_heads", "n_head")
    return {name: tensor.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)}


def gate_and_up(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return the experts' first matrices [expert, gate | up, in] as two."""
    gate, up = tensor.chunk(2, dim=1)
    return {name.replace("gate_up_proj", "gate_proj"): gate, name.replace("gate_up_proj", "up_proj"): up}


def without(prefix: str) -> Callable[[Parts, Settings], Parts]:
    """Return what takes a prefix off all names."""
    return lambda tensors, c: {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def stacked(tensors: Parts, c: Settings) -> Parts:
    """Return the tensors with those that are numbered at the end of their names put together, in their order."""
    found: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        found.setdefault(re.sub(r"\.norms\.\d+\.", ".", name), []).append(tensor)
    return {name: each[0] if len(each) == 1 else torch.stack(each) for name, each in found.items()}


def rope_factors(c: Settings) -> Parts:
    """Return Llama 3's factors, where the settings ask for them."""
    factors = k.llama3_factors(c)
    return {} if factors is None else {"rope_freqs.weight": torch.tensor(factors)}


def _query_heads(c: Settings) -> int:
    return c["num_attention_heads"]


def _key_heads(c: Settings) -> int:
    return k.first(c, "num_key_value_heads", "num_attention_heads")


_PAIRED = {"self_attn.q_proj": halves_to_pairs(_query_heads), "self_attn.k_proj": halves_to_pairs(_key_heads)}


def _llama(c: Settings) -> Keys:
    return k.usual(c) | {"vocab_size": c["vocab_size"], "rope.dimension_count": k.head_width(c)}


def _qwen_moe(c: Settings) -> Keys:
    return k.usual(c) | k.said(
        expert_feed_forward_length=c.get("moe_intermediate_size"),
        expert_shared_feed_forward_length=c.get("shared_expert_intermediate_size"),
    )


def _gemma2(c: Settings) -> Keys:
    return _plain(k.shape(c) | k.usual(c)) | {
        "attention.sliding_window": c["sliding_window"],
        "attn_logit_softcapping": float(c["attn_logit_softcapping"]),
        "final_logit_softcapping": float(c["final_logit_softcapping"]),
    }


def _plain(keys: Keys) -> Keys:
    """Return the keys without what tells of rotary angles."""
    return {name: value for name, value in keys.items() if not name.startswith("rope.")}


def _gemma3(c: Settings) -> Keys:
    keys = k.usual(c) | {"attention.sliding_window": c["sliding_window"]}
    return keys | k.said(final_logit_softcapping=c["final_logit_softcapping"])


def _phi3(c: Settings) -> Keys:
    keys = {name: value for name, value in k.usual(c).items() if name != "rope.scaling.type"}
    settings = k.rope_settings(c)
    scaled = settings.get("rope_type") == "longrope"
    stretch = c["max_position_embeddings"] / c["original_max_position_embeddings"]
    factor = math.sqrt(1 + math.log(stretch) / math.log(c["original_max_position_embeddings"])) if stretch > 1 else 1.0
    return (
        keys
        | {
            "rope.scaling.original_context_length": c["original_max_position_embeddings"],
            "rope.dimension_count": _rotated(c),
            "attention.sliding_window": c["sliding_window"] or 0,
        }
        | ({"rope.scaling.attn_factor": factor} if scaled else {})
    )


def _long_factors(c: Settings) -> Parts:
    settings = k.rope_settings(c)
    return {
        f"rope_factors_{length}.weight": torch.tensor(settings[f"{length}_factor"], dtype=torch.float32)
        for length in ("long", "short")
        if settings.get(f"{length}_factor")
    }


def _rotated(c: Settings) -> int:
    """Return how many of a head's numbers rotate."""
    return int(k.rope_settings(c).get("partial_rotary_factor", 1.0) * k.head_width(c))


def _gpt2(c: Settings) -> Keys:
    return k.usual(c) | {"feed_forward_length": 4 * c["n_embd"]}


def _falcon(c: Settings) -> Keys:
    return _plain(k.usual(c)) | {
        "context_length": 2048,
        "tensor_data_layout": "jploski",
        "feed_forward_length": 4 * c["hidden_size"],
        "attention.head_count_kv": c["num_kv_heads"],
    }


def _falcon_together(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return [group, its queries | key | value, row] as all queries, then all keys, then all values."""
    groups = c["num_kv_heads"]
    by_group = tensor.unflatten(0, (groups, c["num_attention_heads"] // groups + 2, -1))
    parts = by_group[:, :-2], by_group[:, -2:-1], by_group[:, -1:]
    return {name: torch.cat([part.flatten(0, 2) for part in parts])}


def _bloom(c: Settings) -> Keys:
    return _plain(k.usual(c)) | {
        "context_length": c.get("seq_length") or c["hidden_size"],
        "feed_forward_length": 4 * c["hidden_size"],
        "attention.head_count_kv": c["n_head"],
    }


def _stablelm(c: Settings) -> Keys:
    return _plain(k.usual(c)) | {
        "rope.dimension_count": _rotated(c),
        "use_parallel_residual": c["use_parallel_residual"],
    }


_EXPERTS = {"experts.gate_up_proj": gate_and_up}
_GEMMA_GAINS = {"norm": plus_one}
_CONV1D = {end: transposed for end in ("c_attn", "c_proj", "c_fc")}

LAYOUTS: dict[str, Layout] = {
    "llama": Layout(_llama, _PAIRED | _EXPERTS, extra=rope_factors),
    "smollm3": Layout(_llama, _PAIRED, extra=rope_factors),
    "qwen2": Layout(),
    "qwen3": Layout(),
    "qwen2moe": Layout(_qwen_moe, _EXPERTS),
    "qwen3moe": Layout(_qwen_moe, _EXPERTS),
    "gemma": Layout(lambda c: _plain(k.usual(c)), _GEMMA_GAINS, drop=("lm_head.weight",)),
    "gemma2": Layout(_gemma2, _GEMMA_GAINS, drop=("lm_head.weight",)),
    "gemma3": Layout(_gemma3, _GEMMA_GAINS),
    "phi3": Layout(_phi3, extra=_long_factors),
    "gpt2": Layout(_gpt2, _CONV1D),
    "starcoder2": Layout(),
    "falcon": Layout(_falcon, {"query_key_value": _falcon_together}),
    "bloom": Layout(_bloom, {"query_key_value": parts_together}, before=without("transformer.")),
    "stablelm": Layout(_stablelm, before=stacked),
}
"""By llama.cpp's name of the architecture."""
