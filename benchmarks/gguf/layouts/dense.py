"""Layouts of architectures with attention and one MLP per block."""

import math

import torch
from torch import Tensor

from benchmarks.gguf import keys as k
from benchmarks.gguf.keys import Keys, Settings
from benchmarks.gguf.layouts.layout import (
    EXPERTS,
    PAIRED,
    Change,
    Layout,
    Parts,
    parts_together,
    plus_one,
    rope_factors,
    stacked,
    transposed,
    without,
)


def _llama(c: Settings) -> Keys:
    return k.usual(c) | {"vocab_size": c["vocab_size"], "rope.dimension_count": k.head_width(c)}


def _deci(c: Settings) -> Keys:
    heads = {"attention.head_count_kv": [c["num_key_value_heads"]] * c["num_hidden_layers"]}
    return _llama(c) | heads


def _granite(c: Settings) -> Keys:
    keys = {name: value for name, value in _llama(c).items() if not name.endswith(("key_length", "value_length"))}
    scales = {
        "attention.scale": "attention_multiplier",
        "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_scale": "logits_scaling",
    }
    return keys | {name: float(c[setting]) for name, setting in scales.items()}


def _phi3(c: Settings) -> Keys:
    keys = {name: value for name, value in k.usual(c).items() if name != "rope.scaling.type"}
    keys |= {
        "rope.scaling.original_context_length": c["original_max_position_embeddings"],
        "rope.dimension_count": k.rotated(c),
        "attention.sliding_window": c["sliding_window"] or 0,
    }
    if k.rope_settings(c).get("rope_type") == "longrope":
        stretch = c["max_position_embeddings"] / c["original_max_position_embeddings"]
        grown = math.log(stretch) / math.log(c["original_max_position_embeddings"])
        keys["rope.scaling.attn_factor"] = math.sqrt(1 + grown) if stretch > 1 else 1.0
    return keys


def _long_factors(c: Settings) -> Parts:
    settings = k.rope_settings(c)
    return {
        f"rope_factors_{length}.weight": torch.tensor(settings[f"{length}_factor"], dtype=torch.float32)
        for length in ("long", "short")
        if settings.get(f"{length}_factor")
    }


def _phi2(c: Settings) -> Keys:
    return k.plain(k.usual(c)) | {
        "feed_forward_length": 4 * c["hidden_size"],
        "attention.head_count_kv": c["num_attention_heads"],
        "rope.dimension_count": k.rotated(c),
    }


def _gpt2(c: Settings) -> Keys:
    return k.usual(c) | {"feed_forward_length": 4 * c["n_embd"]}


def _gpt_neox(c: Settings) -> Keys:
    return k.plain(k.usual(c)) | {
        "rope.dimension_count": k.rotated(c),
        "use_parallel_residual": c["use_parallel_residual"],
    }


def _falcon(c: Settings) -> Keys:
    return k.plain(k.usual(c)) | {
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
    return k.plain(k.usual(c)) | {
        "context_length": c.get("seq_length") or c["hidden_size"],
        "feed_forward_length": 4 * c["hidden_size"],
        "attention.head_count_kv": c["n_head"],
    }


def _mpt(c: Settings) -> Keys:
    attention = c["attn_config"]
    keys = k.usual(c) | {"feed_forward_length": 4 * c["d_model"], "attention.layer_norm_epsilon": 1e-5}
    keys["attention.max_alibi_bias"] = float(attention["alibi_bias_max"]) if attention["alibi"] else 0.0
    return keys | k.said_of("attention", clamp_kqv=attention["clip_qkv"])


def _stablelm(c: Settings) -> Keys:
    return k.plain(k.usual(c)) | {
        "rope.dimension_count": k.rotated(c),
        "use_parallel_residual": c["use_parallel_residual"],
    }


def _nemotron(c: Settings) -> Keys:
    keys = k.usual(c) | {
        "vocab_size": c["vocab_size"],
        "attention.layer_norm_epsilon": float(c["norm_eps"]),
        "rope.dimension_count": int(k.rope_settings(c)["partial_rotary_factor"] * c["hidden_size"])
        // c["num_attention_heads"],
    }
    factor = k.rope_settings(c).get("factor")
    scaling = {"rope.scaling.type": "none" if factor is None else "linear"} | k.said_of("rope.scaling", factor=factor)
    return keys | scaling


def _command_r(c: Settings) -> Keys:
    return k.usual(c) | {"logit_scale": float(c["logit_scale"]), "rope.scaling.type": "none"}


def _cohere2(c: Settings) -> Keys:
    return _command_r(c) | {
        "attention.sliding_window": c["sliding_window"],
        "vocab_size": c["vocab_size"],
        "rope.dimension_count": k.head_width(c),
    }


def _olmo(c: Settings) -> Keys:
    return k.usual(c) | {"attention.layer_norm_epsilon": 1e-5} | k.said_of("attention", clamp_kqv=c["clip_qkv"])


def _olmo2(c: Settings) -> Keys:
    keys = k.usual(c)
    if "sliding_window" in c:
        keys["attention.sliding_window"] = c["sliding_window"]
        keys["attention.sliding_window_pattern"] = [kind == "sliding_attention" for kind in c["layer_types"]]
    return keys


def _glm4(c: Settings) -> Keys:
    return k.usual(c) | {"rope.dimension_count": k.rotated(c)}


_CONV1D: dict[str, Change] = dict.fromkeys(("c_attn", "c_proj", "c_fc"), transposed)

LAYOUTS: dict[str, Layout] = {
    "llama": Layout(_llama, PAIRED | EXPERTS, extra=rope_factors),
    "smollm3": Layout(_llama, PAIRED, extra=rope_factors),
    "deci": Layout(_deci, PAIRED, extra=rope_factors),
    "granite": Layout(_granite, PAIRED, extra=rope_factors),
    "qwen2": Layout(),
    "qwen3": Layout(),
    "phi2": Layout(_phi2),
    "phi3": Layout(_phi3, extra=_long_factors),
    "gpt2": Layout(_gpt2, _CONV1D),
    "gptneox": Layout(_gpt_neox, {"query_key_value": parts_together}),
    "starcoder2": Layout(),
    "falcon": Layout(_falcon, {"query_key_value": _falcon_together}),
    "bloom": Layout(_bloom, {"query_key_value": parts_together}, before=without("transformer.")),
    "mpt": Layout(_mpt),
    "stablelm": Layout(_stablelm, before=stacked),
    "nemotron": Layout(_nemotron, {"norm": plus_one}),
    "command-r": Layout(_command_r),
    "cohere2": Layout(_cohere2),
    "olmo": Layout(_olmo, PAIRED),
    "olmo2": Layout(_olmo2),
    "glm4": Layout(_glm4),
}
