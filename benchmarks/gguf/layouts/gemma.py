"""Layouts of the Gemmas."""

import torch
from torch import Tensor

from benchmarks.gguf import keys as k
from benchmarks.gguf.keys import Keys, Settings
from benchmarks.gguf.layouts.layout import EXPERTS, Layout, Parts, as_weight, plus_one


def _gemma(c: Settings) -> Keys:
    return k.plain(k.usual(c))


def _gemma2(c: Settings) -> Keys:
    return _gemma(c) | {
        "attention.sliding_window": c["sliding_window"],
        "attn_logit_softcapping": float(c["attn_logit_softcapping"]),
        "final_logit_softcapping": float(c["final_logit_softcapping"]),
    }


def _gemma3(c: Settings) -> Keys:
    keys = k.usual(c) | {"attention.sliding_window": c["sliding_window"]}
    return keys | k.said(final_logit_softcapping=c["final_logit_softcapping"])


def _whole_layers(c: Settings) -> Settings:
    """Return the settings of the layers that see all."""
    [first, *_] = [layer for layer, kind in enumerate(c["layer_types"]) if kind == "full_attention"]
    return c | c["per_layer_config"].get(str(first), {})


def _gemma4(c: Settings) -> Keys:
    whole, windowed = _whole_layers(c), [kind == "sliding_attention" for kind in c["layer_types"]]
    keys = _gemma3(c) | {
        "attention.shared_kv_layers": c["num_kv_shared_layers"],
        "embedding_length_per_layer_input": c["hidden_size_per_layer_input"] or 0,
        "attention.sliding_window_pattern": windowed,
        "attention.key_length": whole["head_dim"],
        "attention.value_length": whole["head_dim"],
        "attention.key_length_swa": c["head_dim"],
        "attention.value_length_swa": c["head_dim"],
        "rope.dimension_count": whole["head_dim"],
        "rope.dimension_count_swa": c["head_dim"],
    }
    if whole["num_key_value_heads"] != c["num_key_value_heads"]:
        heads = (whole["num_key_value_heads"], c["num_key_value_heads"])
        keys["attention.head_count_kv"] = [heads[within] for within in windowed]
    if c["use_double_wide_mlp"]:
        own = len(windowed) - c["num_kv_shared_layers"]
        keys["feed_forward_length"] = [c["intermediate_size"] * (1 + (layer >= own)) for layer in range(len(windowed))]
    return keys | k.said(expert_feed_forward_length=c["moe_intermediate_size"])


def _proportional(c: Settings) -> Parts:
    """Return what the frequencies of layers that see all are divided by: the share that does not rotate, by 1e30."""
    half = _whole_layers(c)["head_dim"] // 2
    turning = int(half * c["rope_parameters"]["full_attention"]["partial_rotary_factor"])
    return {"rope_freqs.weight": torch.tensor([1.0] * turning + [1e30] * (half - turning))}


def _scale_of(part: str, of: str) -> dict:
    def change(name: str, tensor: Tensor, c: Settings) -> Parts:
        layer = name.split(".")[2]
        return {f"=blk.{layer}.{of}.scale": tensor}

    return {part: change}


_GAINS = {"norm": plus_one}
_GEMMA4 = (
    EXPERTS
    | {"layer_scalar": as_weight}
    | _scale_of("router.scale", "ffn_gate_inp")
    | _scale_of("router.per_expert_scale", "ffn_down_exps")
)
_GEMMA4["experts.gate_up_proj"] = as_weight

LAYOUTS: dict[str, Layout] = {
    "gemma": Layout(_gemma, _GAINS, drop=("lm_head.weight",)),
    "gemma2": Layout(_gemma2, _GAINS, drop=("lm_head.weight",)),
    "gemma3": Layout(_gemma3, _GAINS),
    "gemma4": Layout(_gemma4, _GEMMA4, extra=_proportional),
}
