"""Gemma 1 to 3."""

from typing import Any

from layerwise.models.gguf.conversions import less_one
from layerwise.models.gguf.family import (
    ATTENTION,
    BLOCK,
    GATED_MLP,
    OUTSIDE,
    Description,
    Family,
    biased,
    head_size,
    plain_rotary,
    rms_eps,
    sizes,
    window_types,
)
from layerwise.models.gguf.metadata import Metadata
from layerwise.models.gguf.rotary import rotary
from layerwise.models.gguf.rules import Rule, blocks, named

_ACTIVATION = "gelu_pytorch_tanh"


def _gemma(metadata: Metadata) -> Description:
    settings = _settings(metadata) | plain_rotary(metadata, head_size(metadata)) | {"hidden_act": _ACTIVATION}
    norms = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
    return Description("gemma", settings, _rules(norms))


def _gemma2(metadata: Metadata) -> Description:
    settings = _settings(metadata)
    depth = settings["num_hidden_layers"]
    settings |= plain_rotary(metadata, head_size(metadata)) | {
        "hidden_activation": _ACTIVATION,
        "query_pre_attn_scalar": _query_scalar(settings, of_width=depth == 46),
        "attn_logit_softcapping": metadata.number("attn_logit_softcapping", 50.0) or None,
        "final_logit_softcapping": metadata.number("final_logit_softcapping", 30.0) or None,
        "sliding_window": metadata.count("attention.sliding_window", 4096, least=1),
        "layer_types": window_types(metadata, depth, every=2),
    }
    return Description("gemma2", settings, _rules(_FOUR_NORMS))


def _gemma3(metadata: Metadata) -> Description:
    settings = _settings(metadata)
    depth = settings["num_hidden_layers"]
    window = metadata.count("attention.sliding_window", 0)
    everywhere = rotary(metadata, head_size(metadata))
    near = {
        "rope_type": "default",
        "rope_theta": float(metadata.number("rope.freq_base_swa", 10_000.0)),
        "partial_rotary_factor": everywhere["partial_rotary_factor"],
    }
    types = window_types(metadata, depth, every=6)
    settings |= {
        "hidden_activation": _ACTIVATION,
        "query_pre_attn_scalar": _query_scalar(settings, of_width=depth == 62),
        "attn_logit_softcapping": None,
        "final_logit_softcapping": metadata.number("final_logit_softcapping", 0) or None,
        "sliding_window": window or settings["max_position_embeddings"],
        "layer_types": types if window else ["full_attention"] * depth,
        "rope_parameters": {"full_attention": everywhere, "sliding_attention": near},
    }
    return Description("gemma3_text", settings, _rules(_FOUR_NORMS | _QUERY_KEY_NORMS))


def _settings(metadata: Metadata) -> dict[str, Any]:
    return sizes(metadata) | {
        "head_dim": head_size(metadata),
        "rms_norm_eps": rms_eps(metadata),
        "attention_bias": biased(metadata, "attn_q"),
        "use_bidirectional_attention": False,
    }


def _query_scalar(settings: dict[str, Any], *, of_width: bool) -> float:
    """Return what queries are divided by the root of.

    No key has it. llama.cpp knows the models of 27B, in which it is another, by their depth.
    """
    return settings["hidden_size"] // settings["num_attention_heads"] if of_width else settings["head_dim"]


_FOUR_NORMS = {
    "attn_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}

_QUERY_KEY_NORMS = {"attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm"}


def _rules(norms: dict[str, str]) -> list[Rule]:
    matrices = {"token_embd": OUTSIDE["token_embd"], "output": OUTSIDE["output"]}
    return [
        *named(matrices),
        *blocks(BLOCK, ATTENTION | GATED_MLP),
        *named({"output_norm": OUTSIDE["output_norm"]}, less_one),
        *blocks(BLOCK, norms, less_one),
    ]


FAMILIES = (Family("gemma", _gemma), Family("gemma2", _gemma2), Family("gemma3", _gemma3))
