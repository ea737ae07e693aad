"""Qwen 3.5: gated delta nets, with full attention in some blocks."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from layerwise.models.gguf.conversions import as_row, less_one, with_channel
from layerwise.models.gguf.family import (
    ATTENTION,
    BLOCK,
    EXPERTS,
    GATED_MLP,
    OUTSIDE,
    Description,
    Family,
    biased,
    depth,
    head_size,
    plain_rotary,
    rms_eps,
    sizes,
)
from layerwise.models.gguf.metadata import Metadata
from layerwise.models.gguf.rules import Rule, blocks, named

_NET = f"{BLOCK}.linear_attn"

_Reorder = Callable[[int | None, Tensor], Tensor]


def _qwen35(metadata: Metadata) -> Description:
    settings = _settings(metadata, metadata.uniform("feed_forward_length", least=1))
    return Description("qwen3_5_text", settings, [*_rules(settings), *blocks(BLOCK, GATED_MLP)])


def _qwen35_moe(metadata: Metadata) -> Description:
    width = metadata.uniform("expert_feed_forward_length")
    settings = _settings(metadata, metadata.uniform("feed_forward_length", width)) | {
        "num_experts": metadata.count("expert_count"),
        "num_experts_per_tok": metadata.uniform("expert_used_count", least=1),
        "moe_intermediate_size": width,
        "shared_expert_intermediate_size": metadata.count("expert_shared_feed_forward_length"),
    }
    return Description("qwen3_5_moe_text", settings, [*_rules(settings), *_EXPERTS])


def _settings(metadata: Metadata, width: int) -> dict[str, Any]:
    count, heads = depth(metadata), metadata.count("ssm.time_step_rank")
    every = metadata.count("full_attention_interval", 4)
    whole = metadata.count("block_count", least=1)
    nets = metadata.per_block("attention.recurrent_layers", whole, None)
    if nets[0] is None:
        nets = [(index + 1) % every != 0 for index in range(whole)]
    inner = metadata.count("ssm.inner_size")
    if inner % heads:
        raise metadata.unsupported(f"divides {inner} values among {heads} heads")
    rope = plain_rotary(metadata, head_size(metadata), partial=True)
    # Texts have one position, not three, so that how these share the frequencies doesn't matter.
    rope["rope_parameters"]["mrope_section"] = [*metadata.entries("rope.dimension_sections"), 0, 0][:3]
    rope["rope_parameters"]["mrope_interleaved"] = True
    return (
        sizes(metadata, width=width)
        | rope
        | {
            "head_dim": head_size(metadata),
            "hidden_act": "silu",
            "rms_norm_eps": rms_eps(metadata),
            "attention_bias": biased(metadata, "attn_q"),
            "layer_types": ["linear_attention" if each else "full_attention" for each in nets[:count]],
            "linear_conv_kernel_dim": metadata.count("ssm.conv_kernel"),
            "linear_key_head_dim": metadata.count("ssm.state_size"),
            "linear_value_head_dim": inner // heads,
            "linear_num_key_heads": metadata.count("ssm.group_count"),
            "linear_num_value_heads": heads,
        }
    )


def _grouped(settings: dict[str, Any], size: int, skipped: int = 0, dimension: int = 0) -> _Reorder:
    """Return what puts values' heads in order: all that go with the first key, then those of the next.

    llama.cpp has the first of each key's, then the second of each. `size` numbers belong to a head, and
    `skipped` ones come before the values.
    """
    keys, heads = settings["linear_num_key_heads"], settings["linear_num_value_heads"]
    order = torch.arange(heads * size).reshape(heads // keys, keys, size).transpose(0, 1).flatten()

    def convert(_block: int | None, stored: Tensor) -> Tensor:
        return stored.index_select(dimension, torch.cat([torch.arange(skipped), skipped + order]))

    return convert


def _rules(settings: dict[str, Any]) -> list[Rule]:
    size = settings["linear_value_head_dim"]
    before = 2 * settings["linear_num_key_heads"] * settings["linear_key_head_dim"]
    head, values, mixed = _grouped(settings, 1), _grouped(settings, size), _grouped(settings, size, before)

    def decay(block: int | None, stored: Tensor) -> Tensor:
        return torch.log(-head(block, stored))

    def kernel(block: int | None, stored: Tensor) -> Tensor:
        return with_channel(block, mixed(block, stored))

    norms = {"attn_norm": "input_layernorm", "post_attention_norm": "post_attention_layernorm"}
    norms |= {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}
    return [
        *named(OUTSIDE),
        *named({"output_norm": OUTSIDE["output_norm"]}, less_one),
        *blocks(BLOCK, ATTENTION),
        *blocks(BLOCK, norms, less_one),
        *blocks(_NET, {"ssm_norm": "norm"}),
        *blocks(_NET, {"attn_qkv": "in_proj_qkv"}, mixed),
        *blocks(_NET, {"ssm_conv1d": "conv1d"}, kernel),
        *blocks(_NET, {"attn_gate": "in_proj_z"}, values),
        *blocks(_NET, {"ssm_alpha": "in_proj_a", "ssm_beta": "in_proj_b", "ssm_dt.bias": "dt_bias"}, head),
        *blocks(_NET, {"ssm_a": "A_log"}, decay),
        *blocks(_NET, {"ssm_out": "out_proj"}, _grouped(settings, size, dimension=1)),
    ]


_EXPERTS = [
    *EXPERTS,
    *blocks(BLOCK, {f"ffn_{each}_shexp": f"mlp.shared_expert.{each}_proj" for each in ("gate", "up", "down")}),
    *blocks(BLOCK, {"ffn_gate_inp_shexp.weight": "mlp.shared_expert_gate.weight"}, as_row),
    *blocks(BLOCK, {"ffn_gate_up_exps.weight": "mlp.experts.gate_up_proj"}),
]

FAMILIES = (Family("qwen35", _qwen35), Family("qwen35moe", _qwen35_moe))
