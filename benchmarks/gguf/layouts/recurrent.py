"""Layouts of architectures that carry a state from token to token, some beside attention."""

import torch
from torch import Tensor

from benchmarks.gguf import keys as k
from benchmarks.gguf.keys import Keys, Settings
from benchmarks.gguf.layouts.layout import EXPERTS, Change, Layout, Parts, bare, decay, plus_one, squeezed


def _mamba(c: Settings) -> Keys:
    return {
        "context_length": 2**20,
        "embedding_length": c["hidden_size"],
        "feed_forward_length": 0,
        "attention.head_count": 0,
        "block_count": c["num_hidden_layers"],
        "ssm.conv_kernel": c["conv_kernel"],
        "ssm.inner_size": c["intermediate_size"],
        "ssm.state_size": c["state_size"],
        "ssm.time_step_rank": c["time_step_rank"],
        "attention.layer_norm_rms_epsilon": float(c["layer_norm_epsilon"]),
        "ssm.dt_b_c_rms": False,
    }


def _lfm2(c: Settings) -> Keys:
    attends = [kind != "conv" for kind in c["layer_types"]]
    width = c["intermediate_size"]
    if c["block_auto_adjust_ff_dim"]:
        width = int(c["block_ffn_dim_multiplier"] * int(2 * width / 3))
        width = -(-width // c["block_multiple_of"]) * c["block_multiple_of"]
    return k.usual(c) | {
        "vocab_size": c["vocab_size"],
        "shortconv.l_cache": c["conv_L_cache"],
        "feed_forward_length": width,
        "attention.head_count_kv": [c["num_key_value_heads"] * here for here in attends],
    }


def _qwen35(c: Settings) -> Keys:
    width = c["linear_value_head_dim"] * c["linear_num_value_heads"]
    return k.usual(c) | {
        "ssm.conv_kernel": c["linear_conv_kernel_dim"],
        "ssm.state_size": c["linear_key_head_dim"],
        "ssm.group_count": c["linear_num_key_heads"],
        "ssm.time_step_rank": c["linear_num_value_heads"],
        "ssm.inner_size": width,
        "attention.recurrent_layers": [kind == "linear_attention" for kind in c["layer_types"]],
        "full_attention_interval": c.get("full_attention_interval") or 4,
        "rope.dimension_count": k.rotated(c),
        "rope.dimension_sections": [*c["rope_parameters"].get("mrope_section", [11, 11, 10]), 0],
    }


def _qwen35_experts(c: Settings) -> Keys:
    return _qwen35(c) | {
        "expert_feed_forward_length": c["moe_intermediate_size"],
        "expert_shared_feed_forward_length": c["shared_expert_intermediate_size"],
    }


def _in_turn(values: Tensor, c: Settings, axis: int = 0) -> Tensor:
    """Return values' heads [head of keys, its heads of values] as [one of each, the next of each]."""
    keys, heads = c["linear_num_key_heads"], c["linear_num_value_heads"]
    by_head = values.unflatten(axis, (keys, heads // keys, -1))
    return by_head.transpose(axis, axis + 1).flatten(axis, axis + 2)


def _rows(name: str, tensor: Tensor, c: Settings) -> Parts:
    return {name: _in_turn(tensor, c)}


def _columns(name: str, tensor: Tensor, c: Settings) -> Parts:
    return {name: _in_turn(tensor, c, axis=1)}


def _behind_the_keys(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return rows [query | key | value] with the values' heads in turn."""
    size = 2 * c["linear_key_head_dim"] * c["linear_num_key_heads"]
    flat = tensor.squeeze() if tensor.dim() == 3 else tensor
    return {name: torch.cat([flat[:size], _in_turn(flat[size:], c)])}


def _decay_in_turn(name: str, tensor: Tensor, c: Settings) -> Parts:
    return decay(name, _in_turn(tensor, c), c)


def _step(name: str, tensor: Tensor, c: Settings) -> Parts:
    return {name.replace("dt_bias", "dt_proj.bias"): _in_turn(tensor, c)}


_QWEN35: dict[str, Change] = {
    "linear_attn.norm": lambda name, tensor, c: {name: tensor},
    "norm": plus_one,
    "linear_attn.in_proj_qkv": _behind_the_keys,
    "linear_attn.conv1d": _behind_the_keys,
    "linear_attn.in_proj_z": _rows,
    "linear_attn.in_proj_a": _rows,
    "linear_attn.in_proj_b": _rows,
    "linear_attn.out_proj": _columns,
    "linear_attn.A_log": _decay_in_turn,
    "linear_attn.dt_bias": _step,
}

LAYOUTS: dict[str, Layout] = {
    "mamba": Layout(_mamba, {"A_log": decay, "conv1d": bare}),
    "lfm2": Layout(_lfm2, {"conv.conv": squeezed}),
    "qwen35": Layout(_qwen35, _QWEN35),
    "qwen35moe": Layout(_qwen35_experts, EXPERTS | _QWEN35),
}
