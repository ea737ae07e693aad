"""The Gemmas."""

from benchmarks.gguf.case import variants
from benchmarks.gguf.cases.rotary import LINEAR, PLAIN_ROPE, ROPE, THETA

GEMMA = variants(
    "gemma",
    "GemmaConfig",
    {},
    plain={},
    wide_heads={"head_dim": 32},
    one_key_head={"num_key_value_heads": 1},
    epsilon={"rms_norm_eps": 0.05},
    theta=THETA | {"lost": PLAIN_ROPE},
    linear=LINEAR | {"lost": PLAIN_ROPE},
    attention_bias={"attention_bias": True},
)

_ODD = ["full_attention", "sliding_attention", "sliding_attention"]
_PATTERN = "attention.sliding_window_pattern"
GEMMA2 = variants(
    "gemma2",
    "Gemma2Config",
    {"query_pre_attn_scalar": 16},
    plain={},
    attention_cap={"attn_logit_softcapping": 2.0},
    final_cap={"final_logit_softcapping": 5.0},
    window={"sliding_window": 24},
    wide_heads={"head_dim": 32, "query_pre_attn_scalar": 32},
    epsilon={"rms_norm_eps": 0.05},
    query_scale={"query_pre_attn_scalar": 64, "lost": {"query_pre_attn_scalar": 16}},
    theta=THETA | {"lost": PLAIN_ROPE},
    layer_types={
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        "lost": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    },
    pattern={"layer_types": _ODD, "keys": {_PATTERN: [False, True, True]}},
    caps_not_told={
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "keys": {"attn_logit_softcapping": None, "final_logit_softcapping": None},
    },
    window_not_told={"sliding_window": 4096, "keys": {"attention.sliding_window": None}},
    of_27b={"num_hidden_layers": 46, "head_dim": 32, "query_pre_attn_scalar": 16},
    together={
        "attn_logit_softcapping": 3.0,
        "final_logit_softcapping": 12.0,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "num_hidden_layers": 4,
    },
)

_GEMMA3_ROPE = {"full_attention": {"rope_type": "default", "rope_theta": 1e6}, "sliding_attention": ROPE}

_GEMMA3_ROPE = {"full_attention": {"rope_type": "default", "rope_theta": 1e6}, "sliding_attention": ROPE}

_LINEAR_FULL = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}, "sliding_attention": ROPE}

_OTHER_BASES = {
    "full_attention": {"rope_type": "default", "rope_theta": 3e4},
    "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
}

_EVEN = ["full_attention", "sliding_attention"] * 2
GEMMA3 = variants(
    "gemma3",
    "Gemma3TextConfig",
    {"query_pre_attn_scalar": 16, "rope_parameters": _GEMMA3_ROPE, "num_hidden_layers": 7},
    plain={},
    untied={"tie_word_embeddings": False},
    window={"sliding_window": 24},
    wide_heads={"head_dim": 32, "query_pre_attn_scalar": 32},
    epsilon={"rms_norm_eps": 0.05},
    final_cap={"final_logit_softcapping": 5.0},
    bases={"rope_parameters": _OTHER_BASES},
    linear_full={"rope_parameters": _LINEAR_FULL},
    query_scale={"query_pre_attn_scalar": 64, "lost": {"query_pre_attn_scalar": 16}},
    layer_types={
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "lost": {"layer_types": ["sliding_attention"] * 3},
    },
    attention_bias={"attention_bias": True},
    pattern={"num_hidden_layers": 4, "layer_types": _EVEN, "keys": {_PATTERN: [False, True, False, True]}},
    period={"num_hidden_layers": 4, "layer_types": _EVEN[1:] + _EVEN[:1], "keys": {_PATTERN: 2}},
    no_period={"num_hidden_layers": 4, "layer_types": ["sliding_attention"] * 4, "keys": {_PATTERN: 0}},
    base_not_told={"keys": {"rope.freq_base_swa": None}},
    no_window={
        "layer_types": ["full_attention"] * 7,
        "keys": {"attention.sliding_window": None, "rope.freq_base_swa": None},
    },
    of_27b={"num_hidden_layers": 62, "head_dim": 32, "query_pre_attn_scalar": 16},
    together={
        "rope_parameters": _LINEAR_FULL,
        "sliding_window": 40,
        "final_logit_softcapping": 9.0,
        "rms_norm_eps": 0.01,
    },
)
_PROPORTIONAL = {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6}
_GEMMA4 = {
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "vocab_size_per_layer_input": 264,
    "global_head_dim": 32,
    "final_logit_softcapping": 30.0,
    "num_experts": None,
    "top_k_experts": None,
    "moe_intermediate_size": None,
    "rope_parameters": {"full_attention": _PROPORTIONAL, "sliding_attention": ROPE},
}
_GEMMA4_ROPE = {
    "full_attention": _PROPORTIONAL | {"rope_theta": 3e4, "partial_rotary_factor": 0.5},
    "sliding_attention": ROPE | {"rope_theta": 500.0},
}
_GEMMA4_UNEVEN = {
    "full_attention": _PROPORTIONAL | {"partial_rotary_factor": 0.69},
    "sliding_attention": ROPE,
}
_GEMMA4_EXPERTS = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 32}
_SIX_LAYERS = {"num_hidden_layers": 6, "layer_types": ["sliding_attention", "full_attention"] * 3}
GEMMA4 = variants(
    "gemma4",
    "Gemma4TextConfig",
    _GEMMA4,
    plain={},
    no_final_cap={"final_logit_softcapping": None},
    untied={"tie_word_embeddings": False},
    no_inputs_per_layer={"hidden_size_per_layer_input": 0},
    window={"sliding_window": 24},
    final_cap={"final_logit_softcapping": 3.0},
    epsilon={"rms_norm_eps": 0.05},
    rotary={"rope_parameters": _GEMMA4_ROPE},
    uneven_share={"global_head_dim": 44, "rope_parameters": _GEMMA4_UNEVEN},
    shared_keys=_SIX_LAYERS | {"num_kv_shared_layers": 2},
    three_share_keys=_SIX_LAYERS | {"num_kv_shared_layers": 3},
    double_wide=_SIX_LAYERS | {"num_kv_shared_layers": 2, "use_double_wide_mlp": True},
    keys_are_values={"attention_k_eq_v": True, "num_global_key_value_heads": 1},
    experts=_GEMMA4_EXPERTS,
    layer_types={"layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]},
    together=_GEMMA4_EXPERTS
    | {
        "rope_parameters": _GEMMA4_ROPE,
        "hidden_size_per_layer_input": 0,
        "attention_k_eq_v": True,
        "final_logit_softcapping": 5.0,
    },
)
