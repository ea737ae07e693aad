"""Every case: per architecture, settings that its files tell, one by one and together, and settings that they lose."""

from benchmarks.gguf.case import Case, variants

_ROPE = {"rope_type": "default", "rope_theta": 10000.0}


def _scaled(kind: str, **settings: float | list[float]) -> dict[str, object]:
    return {"rope_parameters": _ROPE | {"rope_type": kind} | settings}


_LINEAR = _scaled("linear", factor=4.0)
_LLAMA3 = _scaled("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
_YARN = _scaled("yarn", factor=8.0, original_max_position_embeddings=128)
_YARN_TOLD = _scaled(
    "yarn", factor=16.0, original_max_position_embeddings=64, beta_fast=16.0, beta_slow=2.0, attention_factor=1.3
)
_DYNAMIC = _scaled("dynamic", factor=4.0)
_THETA = {"rope_parameters": _ROPE | {"rope_theta": 500.0}}
_PLAIN_ROPE = {"rope_parameters": _ROPE}

LLAMA = variants(
    "llama",
    "LlamaConfig",
    {"head_dim": None},
    plain={},
    tied={"tie_word_embeddings": True},
    attention_bias={"attention_bias": True},
    mlp_bias={"mlp_bias": True},
    both_biases={"attention_bias": True, "mlp_bias": True},
    wide_heads={"head_dim": 32},
    narrow_heads={"head_dim": 8},
    one_key_head={"num_key_value_heads": 1},
    all_key_heads={"num_key_value_heads": 4},
    theta=_THETA,
    linear=_LINEAR,
    llama3=_LLAMA3,
    llama3_wide_heads=_LLAMA3 | {"head_dim": 32},
    yarn=_YARN,
    yarn_told=_YARN_TOLD,
    dynamic=_DYNAMIC,
    epsilon={"rms_norm_eps": 0.05},
    together=_LLAMA3
    | {"attention_bias": True, "mlp_bias": True, "head_dim": 32, "rms_norm_eps": 0.01, "tie_word_embeddings": True},
)
MISTRAL = variants(
    "llama",
    "MistralConfig",
    {"head_dim": None, "sliding_window": None},
    mistral={},
    mistral_wide_heads={"head_dim": 32},
    mistral_yarn=_YARN,
    mistral_window={"sliding_window": 16, "lost": {"sliding_window": None}},
)
MIXTRAL = variants(
    "llama",
    "MixtralConfig",
    {"head_dim": None, "sliding_window": None},
    mixtral={},
    mixtral_three_of_five={"num_local_experts": 5, "num_experts_per_tok": 3},
    mixtral_one={"num_experts_per_tok": 1},
)
QWEN2 = variants(
    "qwen2",
    "Qwen2Config",
    {},
    plain={},
    tied={"tie_word_embeddings": True},
    theta=_THETA,
    linear=_LINEAR,
    yarn=_YARN,
    yarn_told=_YARN_TOLD,
    epsilon={"rms_norm_eps": 0.05},
    one_key_head={"num_key_value_heads": 1},
    window={
        "use_sliding_window": True,
        "sliding_window": 16,
        "max_window_layers": 1,
        "lost": {"use_sliding_window": False},
    },
    together=_YARN | {"rms_norm_eps": 0.01, "tie_word_embeddings": True, "num_key_value_heads": 4},
)
QWEN3 = variants(
    "qwen3",
    "Qwen3Config",
    {},
    plain={},
    tied={"tie_word_embeddings": True},
    wide_heads={"head_dim": 32},
    theta=_THETA,
    yarn=_YARN,
    linear=_LINEAR,
    attention_bias={"attention_bias": True},
    epsilon={"rms_norm_eps": 0.05},
    window={
        "use_sliding_window": True,
        "sliding_window": 16,
        "max_window_layers": 1,
        "lost": {"use_sliding_window": False},
    },
)
GEMMA = variants(
    "gemma",
    "GemmaConfig",
    {},
    plain={},
    wide_heads={"head_dim": 32},
    one_key_head={"num_key_value_heads": 1},
    epsilon={"rms_norm_eps": 0.05},
    theta=_THETA | {"lost": _PLAIN_ROPE},
    attention_bias={"attention_bias": True},
)
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
    theta=_THETA | {"lost": _PLAIN_ROPE},
    layer_types={
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        "lost": {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"]},
    },
    together={
        "attn_logit_softcapping": 3.0,
        "final_logit_softcapping": 12.0,
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "num_hidden_layers": 4,
    },
)

_GEMMA3_ROPE = {"full_attention": {"rope_type": "default", "rope_theta": 1e6}, "sliding_attention": _ROPE}
_LINEAR_FULL = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6}, "sliding_attention": _ROPE}
_OTHER_BASES = {
    "full_attention": {"rope_type": "default", "rope_theta": 3e4},
    "sliding_attention": {"rope_type": "default", "rope_theta": 500.0},
}

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
    of_27b={"num_hidden_layers": 62, "head_dim": 32, "query_pre_attn_scalar": 16},
    together={"rope_parameters": _LINEAR_FULL, "sliding_window": 40, "final_logit_softcapping": 9.0, "rms_norm_eps": 0.01},
)
_PHI3 = {"original_max_position_embeddings": 1024, "rope_parameters": _ROPE, "sliding_window": None, "num_key_value_heads": 2}


def _longrope(n_rotated: int) -> dict[str, object]:
    half = n_rotated // 2
    factors = {
        "short_factor": [1.0 + 0.1 * index for index in range(half)],
        "long_factor": [1.5 + 0.9 * index for index in range(half)],
    }
    return {"original_max_position_embeddings": 128} | _scaled("longrope", **factors)


PHI3 = variants(
    "phi3",
    "Phi3Config",
    _PHI3,
    plain={},
    tied={"tie_word_embeddings": True},
    all_key_heads={"num_key_value_heads": 4},
    window={"sliding_window": 16},
    theta=_THETA,
    partial={"rope_parameters": _ROPE | {"partial_rotary_factor": 0.5}},
    longrope=_longrope(16),
    epsilon={"rms_norm_eps": 0.05},
    gelu={"hidden_act": "gelu", "lost": {"hidden_act": "silu"}},
    together={"tie_word_embeddings": True, "sliding_window": 40, "rope_parameters": _ROPE | {"partial_rotary_factor": 0.75, "rope_theta": 500.0}},
)
_GPT2 = {"n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 1024, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0}
GPT2 = variants(
    "gpt2",
    "GPT2Config",
    _GPT2 | {"older": {"n_ctx": 1024}},
    plain={},
    untied={"tie_word_embeddings": False},
    epsilon={"layer_norm_epsilon": 0.05},
    exact_gelu={"activation_function": "gelu", "lost": {"activation_function": "gelu_new"}},
    unscaled={"scale_attn_weights": False, "lost": {"scale_attn_weights": True}},
    scaled_by_layer={
        "scale_attn_by_inverse_layer_idx": True,
        "lost": {"scale_attn_by_inverse_layer_idx": False},
    },
)
STARCODER2 = variants(
    "starcoder2",
    "Starcoder2Config",
    {"sliding_window": None},
    plain={},
    untied={"tie_word_embeddings": False},
    theta=_THETA,
    linear=_LINEAR,
    yarn=_YARN,
    epsilon={"norm_epsilon": 0.05},
    no_bias={"use_bias": False},
    window={"sliding_window": 16, "lost": {"sliding_window": None}},
    together=_THETA | {"norm_epsilon": 0.01, "tie_word_embeddings": False, "num_key_value_heads": 4},
)
_FALCON = {"alibi": False, "num_kv_heads": 1, "hidden_dropout": 0.0, "attention_dropout": 0.0}
FALCON = variants(
    "falcon",
    "FalconConfig",
    _FALCON,
    plain={},
    untied={"tie_word_embeddings": False},
    new={"new_decoder_architecture": True, "num_kv_heads": 2},
    new_one_norm={"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
    epsilon={"layer_norm_epsilon": 0.05},
    theta=_THETA | {"lost": _PLAIN_ROPE},
    alibi={"alibi": True, "lost": {"alibi": False}},
)
BLOOM = variants(
    "bloom",
    "BloomConfig",
    {"n_head": 4, "n_layer": 3},
    plain={},
    untied={"tie_word_embeddings": False},
    six_heads={"n_head": 8},
    three_heads={"n_head": 2},
    epsilon={"layer_norm_epsilon": 0.05},
    post_norm={
        "apply_residual_connection_post_layernorm": True,
        "lost": {"apply_residual_connection_post_layernorm": False},
    },
)
STABLELM = variants(
    "stablelm",
    "StableLmConfig",
    {"rope_parameters": _ROPE | {"partial_rotary_factor": 0.25}},
    plain={},
    tied={"tie_word_embeddings": True},
    qkv_bias={"use_qkv_bias": True},
    parallel={"use_parallel_residual": True},
    qk_norms={"qk_layernorm": True},
    parallel_with_qk_norms={"use_parallel_residual": True, "qk_layernorm": True},
    partial={"rope_parameters": _ROPE | {"partial_rotary_factor": 0.75}},
    theta={
        "rope_parameters": _ROPE | {"rope_theta": 500.0, "partial_rotary_factor": 0.25},
        "lost": {"rope_parameters": _ROPE | {"partial_rotary_factor": 0.25}},
    },
    epsilon={"layer_norm_eps": 0.05},
    all_key_heads={"num_key_value_heads": 4},
)

CASES: list[Case] = [
    *LLAMA, *MISTRAL, *MIXTRAL, *QWEN2, *QWEN3, *GEMMA, *GEMMA2, *GEMMA3, *PHI3, *GPT2, *STARCODER2, *FALCON,
    *BLOOM, *STABLELM,
]
