"""Llama, and what llama.cpp's converter files under its name: Mistral, Mixtral, Granite code, SmolLM; and Deci."""

from typing import Any

from layerwise.models.gguf.conversions import halves_of_heads
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
)
from layerwise.models.gguf.metadata import Metadata
from layerwise.models.gguf.rules import Rule, blocks, named


def _describe(metadata: Metadata) -> Description:
    size = head_size(metadata)
    settings = sizes(metadata) | {
        "head_dim": size,
        "hidden_act": "silu",
        "rms_norm_eps": rms_eps(metadata),
        **plain_rotary(metadata, size, own_factors=True),
    }
    metadata.text("tensor_data_layout", None)  # names the order of queries' and keys' rows, which is always this one
    window = metadata.count("attention.sliding_window", 0)
    experts = metadata.count("expert_count", 0)
    used = metadata.uniform("expert_used_count", least=1) if experts else metadata.uniform("expert_used_count", 0)
    rules = [*named(OUTSIDE), *blocks(BLOCK, NORMS | ATTENTION), *_turned(settings)]
    biases = {"attention_bias": biased(metadata, "attn_q"), "mlp_bias": biased(metadata, "ffn_gate")}
    if not experts and not window:
        return Description("llama", settings | biases, rules + blocks(BLOCK, GATED_MLP))
    if any(biases.values()):
        raise metadata.unsupported("has biases beside experts or a sliding window")
    settings["sliding_window"] = window or None
    if not experts:
        return Description("mistral", settings, rules + blocks(BLOCK, GATED_MLP))
    return Description(
        "mixtral",
        settings | {"num_local_experts": experts, "num_experts_per_tok": used, "router_jitter_noise": 0.0},
        rules + EXPERTS,
    )


def _turned(settings: dict[str, Any]) -> list[Rule]:
    queries = halves_of_heads(settings["num_attention_heads"])
    keys = halves_of_heads(settings["num_key_value_heads"])
    return [
        *blocks(BLOCK, {"attn_q": ATTENTION["attn_q"]}, queries),
        *blocks(BLOCK, {"attn_k": ATTENTION["attn_k"]}, keys),
    ]


FAMILIES = (Family("llama", _describe), Family("deci", _describe))
"""Deci's blocks differ in most models, which are refused; those that don't are Llama's."""
