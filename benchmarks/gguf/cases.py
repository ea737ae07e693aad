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

CASES: list[Case] = [*LLAMA, *MISTRAL, *MIXTRAL, *QWEN2, *QWEN3, *GEMMA, *GEMMA2]
