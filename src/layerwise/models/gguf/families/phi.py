"""Phi 3 and 4."""

from layerwise.models.gguf.conversions import one_after_another
from layerwise.models.gguf.family import (
    BLOCK,
    NORMS,
    OUTSIDE,
    Description,
    Family,
    plain_rotary,
    rms_eps,
    sizes,
    usual_head_size,
)
from layerwise.models.gguf.metadata import Metadata
from layerwise.models.gguf.rules import Rule, blocks, named


def _phi3(metadata: Metadata) -> Description:
    size = usual_head_size(metadata)
    rope = plain_rotary(metadata, size, own_factors=True, partial=True)
    settings = (
        sizes(metadata)
        | rope
        | {
            "hidden_act": "silu",
            "rms_norm_eps": rms_eps(metadata),
            # llama.cpp reads it and looks at the whole text all the same.
            "sliding_window": metadata.count("attention.sliding_window", 0) or None,
            "original_max_position_embeddings": metadata.count(
                "rope.scaling.original_context_length", metadata.count("context_length", least=1)
            ),
        }
    )
    return Description("phi3", settings, _RULES)


_RULES = [
    *named(OUTSIDE),
    *blocks(BLOCK, NORMS | {"attn_output": "self_attn.o_proj", "attn_qkv": "self_attn.qkv_proj"}),
    *blocks(BLOCK, {"ffn_up": "mlp.gate_up_proj", "ffn_down": "mlp.down_proj"}),
    Rule(
        tuple(f"blk.{{}}.attn_{each}.weight" for each in "qkv"),
        (f"{BLOCK}.self_attn.qkv_proj.weight",),
        one_after_another,
    ),
]

FAMILIES = (Family("phi3", _phi3),)
