"""Mamba, and LFM 2 with its short convolutions."""

import torch
from torch import Tensor

from layerwise.models.gguf.conversions import with_channel
from layerwise.models.gguf.family import (
    BLOCK,
    Description,
    Family,
    depth,
    ends,
    plain_rotary,
    rms_eps,
    sizes,
    usual_head_size,
)
from layerwise.models.gguf.metadata import Metadata
from layerwise.models.gguf.rules import blocks, named

_MIXER = "backbone.layers.{}.mixer"


def _mamba(metadata: Metadata) -> Description:
    for key in ("feed_forward_length", "attention.head_count", "attention.head_count_kv"):
        if metadata.uniform(key, 0):
            raise metadata.unsupported(f"says {key}, and a Mamba has none")
    if metadata.flag("ssm.dt_b_c_rms", False):
        raise metadata.unsupported("norms the inputs of its states (ssm.dt_b_c_rms), as Falcon Mamba does")
    metadata.count("context_length", least=1)  # it has none
    settings = ends(metadata) | {
        "hidden_size": metadata.count("embedding_length", least=1),
        "num_hidden_layers": depth(metadata),
        "state_size": metadata.count("ssm.state_size"),
        "conv_kernel": metadata.count("ssm.conv_kernel"),
        "intermediate_size": metadata.count("ssm.inner_size"),
        "time_step_rank": metadata.count("ssm.time_step_rank"),
        "layer_norm_epsilon": rms_eps(metadata),
        "hidden_act": "silu",
        "use_bias": metadata.has("blk.0.ssm_in.bias"),
        "use_conv_bias": metadata.has("blk.0.ssm_conv1d.bias"),
        "residual_in_fp32": True,
        "time_step_scale": 1.0,
        "expand": 2,
    }
    settings["expand"] = settings["intermediate_size"] / settings["hidden_size"]
    if settings["expand"] == int(settings["expand"]):
        settings["expand"] = int(settings["expand"])
    return Description("mamba", settings, _MAMBA)


def _logarithm(_block: int | None, decay: Tensor) -> Tensor:
    """Return A's logarithm; the file has A, which is negative."""
    return torch.log(-decay)


_MAMBA = [
    *named({"token_embd": "backbone.embeddings", "output_norm": "backbone.norm_f", "output": "lm_head"}),
    *blocks("backbone.layers.{}", {"attn_norm": "norm"}),
    *blocks(_MIXER, {"ssm_in": "in_proj", "ssm_x": "x_proj", "ssm_dt": "dt_proj", "ssm_out": "out_proj"}),
    *blocks(_MIXER, {"ssm_conv1d.bias": "conv1d.bias", "ssm_d": "D"}),
    *blocks(_MIXER, {"ssm_conv1d.weight": "conv1d.weight"}, with_channel),
    *blocks(_MIXER, {"ssm_a": "A_log"}, _logarithm),
]


def _lfm2(metadata: Metadata) -> Description:
    blocks_ = depth(metadata)
    key_heads = metadata.per_block("attention.head_count_kv", blocks_)
    if len(set(key_heads) - {0}) != 1:
        raise metadata.unsupported("has blocks with different numbers of keys")
    if metadata.count("attention.sliding_window", 0):
        raise metadata.unsupported("has a sliding window")
    size = usual_head_size(metadata)
    settings = sizes(metadata, key_heads=max(key_heads)) | {
        "layer_types": ["full_attention" if heads else "conv" for heads in key_heads],
        "block_auto_adjust_ff_dim": False,  # the file's width is the final one
        "norm_eps": rms_eps(metadata),
        "conv_L_cache": metadata.count("shortconv.l_cache"),
        "conv_bias": any(name.endswith("shortconv.in_proj.bias") for name in metadata.tensors),
        **plain_rotary(metadata, size),
    }
    return Description("lfm2", settings, _LFM2)


_LFM2 = [
    *named({"token_embd": "model.embed_tokens", "token_embd_norm": "model.embedding_norm", "output": "lm_head"}),
    *named({"output_norm": "model.embedding_norm"}),
    *blocks(BLOCK, {"attn_norm": "operator_norm", "ffn_norm": "ffn_norm"}),
    *blocks(BLOCK, {f"attn_{each}": f"self_attn.{each}_proj" for each in "qkv"}),
    *blocks(BLOCK, {"attn_output": "self_attn.out_proj"}),
    *blocks(BLOCK, {"attn_q_norm": "self_attn.q_layernorm", "attn_k_norm": "self_attn.k_layernorm"}),
    *blocks(BLOCK, {"ffn_gate": "feed_forward.w1", "ffn_up": "feed_forward.w3", "ffn_down": "feed_forward.w2"}),
    *blocks(BLOCK, {"shortconv.in_proj": "conv.in_proj", "shortconv.out_proj": "conv.out_proj"}),
    *blocks(BLOCK, {"shortconv.conv.bias": "conv.conv.bias"}),
    *blocks(BLOCK, {"shortconv.conv.weight": "conv.conv.weight"}, with_channel),
]

FAMILIES = (Family("mamba", _mamba), Family("lfm2", _lfm2))
