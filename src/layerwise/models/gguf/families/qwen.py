"""Qwen 2 and 3, dense and with experts."""

from typing import Any

from layerwise.models.gguf.conversions import as_row
from layerwise.models.gguf.family import (
    ATTENTION,
    BLOCK,
    EXPERTS,
    GATED_MLP,
    NORMS,
    OUTSIDE,
    Description,
    Family,
    biased,
    head_size,
    plain_rotary,
    rms_eps,
    sizes,
    usual_head_size,
)
from layerwise.models.gguf.metadata import Metadata
from layerwise.models.gguf.rules import blocks, named

_QUERY_KEY_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}

_WINDOWLESS = {"use_sliding_window": False, "sliding_window": None}
"""No file says which window the blocks of some checkpoints have."""


def _qwen2(metadata: Metadata) -> Description:
    settings = _settings(metadata, usual_head_size(metadata))
    return Description("qwen2", settings, [*_RULES, *blocks(BLOCK, GATED_MLP)])


def _qwen3(metadata: Metadata) -> Description:
    settings = _settings(metadata, head_size(metadata)) | _normed(metadata)
    return Description("qwen3", settings, [*_RULES, *blocks(BLOCK, GATED_MLP | _QUERY_KEY_NORMS)])


def _qwen2_moe(metadata: Metadata) -> Description:
    settings = _settings(metadata, usual_head_size(metadata)) | _experts(metadata)
    settings |= {
        "qkv_bias": biased(metadata, "attn_q"),
        "norm_topk_prob": False,
        "shared_expert_intermediate_size": metadata.count(
            "expert_shared_feed_forward_length", settings["intermediate_size"]
        ),
    }
    return Description("qwen2_moe", settings, [*_RULES, *EXPERTS, *_SHARED_EXPERT])


def _qwen3_moe(metadata: Metadata) -> Description:
    settings = _settings(metadata, head_size(metadata)) | _normed(metadata) | _experts(metadata)
    settings["norm_topk_prob"] = True
    return Description("qwen3_moe", settings, [*_RULES, *EXPERTS, *blocks(BLOCK, _QUERY_KEY_NORMS)])


def _settings(metadata: Metadata, size: int) -> dict[str, Any]:
    settings = sizes(metadata)
    return settings | {
        "hidden_act": "silu",
        "rms_norm_eps": rms_eps(metadata),
        "max_window_layers": settings["num_hidden_layers"],
        "layer_types": ["full_attention"] * settings["num_hidden_layers"],
        **_WINDOWLESS,
        **plain_rotary(metadata, size),
    }


def _normed(metadata: Metadata) -> dict[str, Any]:
    """Return the settings that Qwen 3 has beyond Qwen 2's."""
    return {"head_dim": head_size(metadata), "attention_bias": biased(metadata, "attn_q")}


def _experts(metadata: Metadata) -> dict[str, Any]:
    used = metadata.uniform("expert_used_count", least=1)
    return {
        "num_experts": metadata.count("expert_count"),
        "num_experts_per_tok": used,
        "moe_intermediate_size": metadata.uniform("expert_feed_forward_length", None)
        or metadata.uniform("feed_forward_length", least=1) // used,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    }


_RULES = [*named(OUTSIDE), *blocks(BLOCK, NORMS | ATTENTION)]

_SHARED_EXPERT = [
    *blocks(
        BLOCK,
        {
            f"{ggml}_shexp": f"mlp.shared_expert.{name}_proj"
            for ggml, name in (("ffn_gate", "gate"), ("ffn_up", "up"), ("ffn_down", "down"))
        },
    ),
    *blocks(BLOCK, {"ffn_gate_inp_shexp.weight": "mlp.shared_expert_gate.weight"}, as_row),
]

FAMILIES = (
    Family("qwen2", _qwen2),
    Family("qwen3", _qwen3),
    Family("qwen2moe", _qwen2_moe),
    Family("qwen3moe", _qwen3_moe),
)
