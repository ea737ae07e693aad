"""gpt-oss and MiniMax M2: mixtures of experts with arrangements of their own."""

import torch
from torch import Tensor

from layerwise.models.gguf.family import (
    ATTENTION,
    BLOCK,
    NORMS,
    OUTSIDE,
    Description,
    Family,
    gates_and_ups,
    head_size,
    plain_rotary,
    rms_eps,
    sizes,
    window_types,
)
from layerwise.models.gguf.metadata import Metadata
from layerwise.models.gguf.rules import Rule, blocks, named

_SIGMOID = 2
"""llama.cpp's number for how experts are scored."""


def _gpt_oss(metadata: Metadata) -> Description:
    size = head_size(metadata)
    settings = sizes(metadata)
    depth = settings["num_hidden_layers"]
    settings |= {
        "head_dim": size,
        "hidden_act": "silu",
        "rms_norm_eps": rms_eps(metadata),
        "attention_bias": True,
        "num_local_experts": metadata.count("expert_count"),
        "num_experts_per_tok": metadata.uniform("expert_used_count", least=1),
        "intermediate_size": metadata.uniform("expert_feed_forward_length", settings["intermediate_size"]),
        "sliding_window": metadata.count("attention.sliding_window", least=1),
        "layer_types": window_types(metadata, depth, every=2),
        "swiglu_alpha": 1.702,
        "swiglu_limit": 7.0,
        # All published models were trained without YaRN's bounds made whole, which no key says.
        **plain_rotary(metadata, size, truncate=False),
    }
    near = metadata.number("rope.freq_base_swa", settings["rope_parameters"]["rope_theta"])
    if near != settings["rope_parameters"]["rope_theta"]:
        raise metadata.unsupported("has another rotary base in blocks with a sliding window")
    return Description("gpt_oss", settings, _GPT_OSS)


def _interleaved(_block: int | None, gate: Tensor, up: Tensor) -> Tensor:
    """Return gates and ups in turn, [expert, column, 2 · row] or [expert, 2 · row]."""
    both = torch.stack([gate, up], dim=2)
    both = both.reshape(gate.shape[0], -1, *gate.shape[2:])
    return both if gate.dim() == 2 else both.transpose(1, 2).contiguous()


def _input_first(_block: int | None, experts: Tensor) -> Tensor:
    return experts.transpose(1, 2).contiguous()


_GPT_OSS = [
    *named(OUTSIDE),
    *blocks(BLOCK, ATTENTION | {"attn_norm": "input_layernorm", "ffn_gate_inp": "mlp.router"}),
    # gguf names the second norm after the attention; files of the first days after the MLP.
    *blocks(BLOCK, {"post_attention_norm": "post_attention_layernorm", "ffn_norm": "post_attention_layernorm"}),
    *blocks(BLOCK, {"attn_sinks.weight": "self_attn.sinks", "ffn_down_exps.bias": "mlp.experts.down_proj_bias"}),
    *blocks(BLOCK, {"ffn_down_exps.weight": "mlp.experts.down_proj"}, _input_first),
    Rule(
        ("blk.{}.ffn_gate_exps.weight", "blk.{}.ffn_up_exps.weight"),
        (f"{BLOCK}.mlp.experts.gate_up_proj",),
        _interleaved,
    ),
    Rule(
        ("blk.{}.ffn_gate_exps.bias", "blk.{}.ffn_up_exps.bias"),
        (f"{BLOCK}.mlp.experts.gate_up_proj_bias",),
        _interleaved,
    ),
]


def _minimax_m2(metadata: Metadata) -> Description:
    size = head_size(metadata)
    if metadata.count("expert_gating_func", _SIGMOID) != _SIGMOID:
        raise metadata.unsupported("scores its experts otherwise than by a sigmoid")
    settings = sizes(metadata) | {
        "head_dim": size,
        "hidden_act": "silu",
        "rms_norm_eps": rms_eps(metadata),
        "num_local_experts": metadata.count("expert_count"),
        "num_experts_per_tok": metadata.uniform("expert_used_count", least=1),
        "router_jitter_noise": 0.0,
        **plain_rotary(metadata, size, partial=True),
    }
    settings["intermediate_size"] = metadata.uniform("expert_feed_forward_length", settings["intermediate_size"])
    return Description("minimax_m2", settings, _MINIMAX_M2)


_MINIMAX_M2 = [
    *named(OUTSIDE),
    *blocks(BLOCK, NORMS | ATTENTION | {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}),
    *blocks(BLOCK, {"ffn_gate_inp": "mlp.gate", "exp_probs_b.bias": "mlp.e_score_correction_bias"}),
    *blocks(BLOCK, {"ffn_down_exps.weight": "mlp.experts.down_proj"}),
    gates_and_ups(f"{BLOCK}.mlp.experts"),
]

FAMILIES = (Family("gpt-oss", _gpt_oss), Family("minimax-m2", _minimax_m2))
