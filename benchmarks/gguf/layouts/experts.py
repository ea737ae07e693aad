"""Layouts of mixtures of experts."""

from torch import Tensor

from benchmarks.gguf import keys as k
from benchmarks.gguf.keys import Keys, Settings
from benchmarks.gguf.layouts.layout import EXPERTS, Layout, Parts, as_weight


def _qwen(c: Settings) -> Keys:
    return k.usual(c) | k.said(
        expert_feed_forward_length=c.get("moe_intermediate_size"),
        expert_shared_feed_forward_length=c.get("shared_expert_intermediate_size"),
    )


def _gpt_oss(c: Settings) -> Keys:
    return k.usual(c) | {
        "attention.sliding_window": c["sliding_window"],
        "expert_feed_forward_length": c["intermediate_size"],
    }


def _every_other(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return weights [expert, in, gate and up in turn] as two of [expert, out, in]; biases as two."""
    named, of, kind = name.rpartition("gate_up_proj")[0], tensor, "bias" if name.endswith("_bias") else "weight"
    if kind == "weight":
        of = tensor.transpose(1, 2)
    return {f"{named}gate_proj.{kind}": of[:, ::2], f"{named}up_proj.{kind}": of[:, 1::2]}


def _down(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return weights [expert, in, out] as [expert, out, in]; biases as they are."""
    if name.endswith("_bias"):
        return {name.replace("down_proj_bias", "down_proj.bias"): tensor}
    return {f"{name}.weight": tensor.transpose(1, 2)}


_GPT_OSS = {
    "sinks": as_weight,
    "gate_up_proj": _every_other,
    "gate_up_proj_bias": _every_other,
    "down_proj": _down,
    "down_proj_bias": _down,
}


def _minimax(c: Settings) -> Keys:
    keys = k.usual(c) | {"expert_feed_forward_length": c["intermediate_size"], "rope.dimension_count": k.rotated(c)}
    return keys | {"expert_gating_func": 2}  # the logistic function


def _correction(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return the bias by which experts are chosen, under its name in the file."""
    return {f"=blk.{name.split('.')[2]}.exp_probs_b.bias": tensor}


LAYOUTS: dict[str, Layout] = {
    "qwen2moe": Layout(_qwen, EXPERTS),
    "qwen3moe": Layout(_qwen, EXPERTS),
    "gpt-oss": Layout(_gpt_oss, _GPT_OSS),
    "minimax-m2": Layout(_minimax, EXPERTS | {"e_score_correction_bias": _correction}),
}
