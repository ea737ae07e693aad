"""Gemma 4: two sizes of heads, keys and values that blocks share, inputs for each block, experts."""

from typing import Any

from layerwise.models.gguf.family import (
    ATTENTION,
    BLOCK,
    GATED_MLP,
    OUTSIDE,
    Description,
    Family,
    biased,
    depth,
    ends,
    gates_and_ups,
    rms_eps,
)
from layerwise.models.gguf.metadata import Metadata
from layerwise.models.gguf.rotary import share
from layerwise.models.gguf.rules import blocks, named

_STILL = 1e29
"""A frequency is divided by at least as much if it doesn't turn at all."""


def _describe(metadata: Metadata) -> Description:
    count, shared = depth(metadata), metadata.count("attention.shared_kv_layers", 0)
    near = [bool(each) for each in metadata.per_block("attention.sliding_window_pattern", count)]
    cap = metadata.number("final_logit_softcapping", None)
    if cap is None:
        raise metadata.unsupported(
            "does not say whether its logits are capped: llama.cpp caps them at 30 then, and its converter leaves the "
            "key out for models that don't"
        )
    settings = ends(metadata) | {
        "hidden_size": metadata.count("embedding_length", least=1),
        "num_hidden_layers": count,
        "num_attention_heads": metadata.uniform("attention.head_count", least=1),
        "max_position_embeddings": metadata.count("context_length", least=1),
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": rms_eps(metadata),
        "attention_bias": biased(metadata, "attn_q"),
        "sliding_window": metadata.count("attention.sliding_window", least=1),
        "layer_types": ["sliding_attention" if each else "full_attention" for each in near],
        "final_logit_softcapping": cap or None,
        "use_bidirectional_attention": None,
        "num_kv_shared_layers": shared,
        "hidden_size_per_layer_input": metadata.count("embedding_length_per_layer_input"),
        **_widths(metadata, count, shared),
        **_heads(metadata, near),
        **_experts(metadata),
    }
    settings["vocab_size_per_layer_input"] = (
        metadata.rows("per_layer_token_embd.weight") if settings["hidden_size_per_layer_input"] else 0
    )
    unused = {
        f"blk.{index}.attn_{each}.weight" for index in range(count - shared, count) for each in ("k", "v", "k_norm")
    }
    return Description("gemma4_text", settings, _RULES, unused=frozenset(unused))


def _widths(metadata: Metadata, count: int, shared: int) -> dict[str, Any]:
    """Return the widths of MLPs, which blocks with others' keys may have doubled."""
    widths = metadata.per_block("feed_forward_length", count)
    doubled = len(set(widths)) > 1
    if doubled and widths != [widths[0]] * (count - shared) + [2 * widths[0]] * shared:
        raise metadata.unsupported("has MLPs of other widths than one, doubled where keys are shared")
    return {"intermediate_size": widths[0], "use_double_wide_mlp": doubled}


def _heads(metadata: Metadata, near: list[bool]) -> dict[str, Any]:
    """Return the sizes and numbers of heads, and how they are turned, with a sliding window and without."""
    far_size, near_size = metadata.count("attention.key_length"), metadata.count("attention.key_length_swa")
    if (far_size, near_size) != (
        metadata.count("attention.value_length"),
        metadata.count("attention.value_length_swa"),
    ):
        raise metadata.unsupported("has keys and values of different lengths")
    turned = (metadata.count("rope.dimension_count", far_size), metadata.count("rope.dimension_count_swa", near_size))
    if turned != (far_size, near_size):
        raise metadata.unsupported("turns only part of its heads")
    found = metadata.per_block("attention.head_count_kv", len(near))
    kinds = {kind: {heads for heads, each in zip(found, near, strict=True) if each is kind} for kind in (True, False)}
    if any(len(each) > 1 for each in kinds.values()):
        raise metadata.unsupported("has blocks of one kind with different numbers of keys")
    near_heads, far_heads = (next(iter(kinds[kind]), found[0]) for kind in (True, False))
    far = [index for index, each in enumerate(near) if not each]
    return {
        "num_key_value_heads": near_heads,
        "head_dim": near_size,
        "attention_k_eq_v": any(not metadata.has(f"blk.{index}.attn_v.weight") for index in far[:1]),
        "per_layer_config": {index: {"head_dim": far_size, "num_key_value_heads": far_heads} for index in far},
        "rope_parameters": {
            "sliding_attention": _plain(metadata, "rope.freq_base_swa"),
            "full_attention": _plain(metadata, "rope.freq_base") | (_proportion(metadata, far_size) if far else {}),
        },
    }


def _plain(metadata: Metadata, key: str) -> dict[str, Any]:
    return {"rope_type": "default", "rope_theta": float(metadata.number(key, 10_000.0))}


def _proportion(metadata: Metadata, size: int) -> dict[str, Any]:
    """Return which share of the frequencies turns, by the factors that stop the others."""
    name = "rope_freqs.weight"
    metadata.rows(name)  # llama.cpp needs it too
    factors = metadata.values(name).tolist()
    turning = sum(factor < _STILL for factor in factors)
    if len(factors) != size // 2 or factors[:turning] != [1.0] * turning:
        raise metadata.unsupported(f"stretches its rotary positions ({name}) otherwise than by stopping the last ones")
    return {"rope_type": "proportional", "partial_rotary_factor": share(2 * turning, size)}


def _experts(metadata: Metadata) -> dict[str, Any]:
    count = metadata.count("expert_count", 0)
    used = metadata.uniform("expert_used_count", least=1) if count else metadata.uniform("expert_used_count", 0)
    width = metadata.uniform("expert_feed_forward_length", None)
    return {
        "enable_moe_block": count > 0,
        "num_experts": count or None,
        "top_k_experts": used or None,
        "moe_intermediate_size": width,
    }


_RULES = [
    *named(OUTSIDE),
    *named({"per_layer_token_embd": "model.embed_tokens_per_layer"}),
    *named({"per_layer_model_proj": "model.per_layer_model_projection"}),
    *named({"per_layer_proj_norm": "model.per_layer_projection_norm"}),
    *blocks(BLOCK, ATTENTION | GATED_MLP),
    *blocks(BLOCK, {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}),
    *blocks(BLOCK, {"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"}),
    *blocks(BLOCK, {"ffn_norm": "pre_feedforward_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}),
    *blocks(BLOCK, {"inp_gate": "per_layer_input_gate", "proj": "per_layer_projection"}),
    *blocks(BLOCK, {"post_norm": "post_per_layer_input_norm", "layer_output_scale.weight": "layer_scalar"}),
    *blocks(BLOCK, {"ffn_gate_inp.weight": "router.proj.weight", "ffn_gate_inp.scale": "router.scale"}),
    *blocks(BLOCK, {"ffn_down_exps.scale": "router.per_expert_scale", "ffn_down_exps.weight": "experts.down_proj"}),
    *blocks(BLOCK, {"ffn_gate_up_exps.weight": "experts.gate_up_proj"}),
    *blocks(BLOCK, {"pre_ffw_norm_2": "pre_feedforward_layernorm_2"}),
    *blocks(BLOCK, {f"post_ffw_norm_{each}": f"post_feedforward_layernorm_{each}" for each in "12"}),
    gates_and_ups(f"{BLOCK}.experts"),
]

FAMILIES = (Family("gemma4", _describe),)
