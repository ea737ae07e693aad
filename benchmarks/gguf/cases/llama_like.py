"""Llama and those that are built like it."""

from benchmarks.gguf.case import variants
from benchmarks.gguf.cases.rotary import (
    DYNAMIC,
    LINEAR,
    LLAMA3,
    PLAIN_ROPE,
    THETA,
    YARN,
    YARN_ATTENTION,
    YARN_BOUNDS,
    YARN_SCALES,
    YARN_UNTRUNCATED,
    longrope,
)

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
    theta=THETA,
    linear=LINEAR,
    linear_without_type=LINEAR | {"keys": {"rope.scaling.type": None}},
    linear_older_key=LINEAR
    | {"keys": {"rope.scaling.type": None, "rope.scaling.factor": None, "rope.scale_linear": 4.0}},
    base_not_told={"keys": {"rope.freq_base": None}},
    heads_not_told={
        "num_key_value_heads": 4,
        "keys": {"attention.head_count_kv": None, "attention.key_length": None, "attention.value_length": None},
    },
    gelu={"hidden_act": "gelu", "lost": {"hidden_act": "silu"}},
    llama3=LLAMA3,
    llama3_wide_heads=LLAMA3 | {"head_dim": 32},
    yarn=YARN,
    yarn_bounds=YARN_BOUNDS,
    yarn_attention=YARN_ATTENTION,
    yarn_untruncated=YARN_UNTRUNCATED | {"lost": YARN},
    yarn_scales=YARN_SCALES | {"lost": YARN},
    dynamic=DYNAMIC,
    longrope=longrope(16, 256),
    epsilon={"rms_norm_eps": 0.05},
    together=LLAMA3
    | {"attention_bias": True, "mlp_bias": True, "head_dim": 32, "rms_norm_eps": 0.01, "tie_word_embeddings": True},
)

MISTRAL = variants(
    "llama",
    "MistralConfig",
    {"head_dim": None, "sliding_window": None},
    mistral={},
    mistral_wide_heads={"head_dim": 32},
    mistral_yarn=YARN,
    mistral_window={"sliding_window": 16, "lost": {"sliding_window": None}},
)

MIXTRAL = variants(
    "llama",
    "MixtralConfig",
    {"head_dim": None, "sliding_window": None},
    mixtral={},
    mixtral_three_of_five={"num_local_experts": 5, "num_experts_per_tok": 3},
    mixtral_one={"num_experts_per_tok": 1},
    mixtral_window={"sliding_window": 16, "lost": {"sliding_window": None}},
)

QWEN2 = variants(
    "qwen2",
    "Qwen2Config",
    {},
    plain={},
    tied={"tie_word_embeddings": True},
    theta=THETA,
    linear=LINEAR,
    llama3=LLAMA3 | {"lost": PLAIN_ROPE},
    yarn=YARN,
    yarn_bounds=YARN_BOUNDS,
    yarn_attention=YARN_ATTENTION,
    epsilon={"rms_norm_eps": 0.05},
    one_key_head={"num_key_value_heads": 1},
    window={
        "use_sliding_window": True,
        "sliding_window": 16,
        "max_window_layers": 1,
        "lost": {"use_sliding_window": False},
    },
    together=YARN | {"rms_norm_eps": 0.01, "tie_word_embeddings": True, "num_key_value_heads": 4},
)

QWEN3 = variants(
    "qwen3",
    "Qwen3Config",
    {},
    plain={},
    tied={"tie_word_embeddings": True},
    wide_heads={"head_dim": 32},
    theta=THETA,
    yarn=YARN,
    linear=LINEAR,
    llama3=LLAMA3 | {"lost": PLAIN_ROPE},
    attention_bias={"attention_bias": True},
    epsilon={"rms_norm_eps": 0.05},
    window={
        "use_sliding_window": True,
        "sliding_window": 16,
        "max_window_layers": 1,
        "lost": {"use_sliding_window": False},
    },
)
SMOLLM3 = variants(
    "smollm3",
    "SmolLM3Config",
    {"num_hidden_layers": 5, "use_sliding_window": False},
    plain={},
    untied={"tie_word_embeddings": False},
    theta=THETA,
    llama3=LLAMA3,
    yarn=YARN,
    attention_bias={"attention_bias": True},
    mlp_bias={"mlp_bias": True},
    epsilon={"rms_norm_eps": 0.05},
    every_other={
        "no_rope_layer_interval": 2,
        "no_rope_layers": [1, 0, 1, 0, 1],
        "lost": {"no_rope_layer_interval": 4, "no_rope_layers": [1, 1, 1, 0, 1]},
    },
    window={
        "use_sliding_window": True,
        "sliding_window": 16,
        "lost": {"use_sliding_window": False},
    },
)
_DECI = {
    "head_dim": None,
    "older": {"architectures": ["DeciLMForCausalLM"], "num_key_value_heads_per_layer": [2, 2, 2]},
}
DECI = variants(
    "deci",
    "LlamaConfig",
    _DECI,
    plain={},
    tied={"tie_word_embeddings": True},
    theta=THETA,
    llama3=LLAMA3,
    wide_heads={"head_dim": 32},
    epsilon={"rms_norm_eps": 0.05},
)
GRANITE = variants(
    "granite",
    "GraniteConfig",
    {"attention_multiplier": 0.25},
    plain={},
    tied={"tie_word_embeddings": True},
    embedding={"embedding_multiplier": 6.0},
    residual={"residual_multiplier": 0.4},
    attention={"attention_multiplier": 0.0625},
    logits={"logits_scaling": 3.0},
    attention_bias={"attention_bias": True},
    mlp_bias={"mlp_bias": True},
    theta=THETA,
    epsilon={"rms_norm_eps": 0.05},
    together=THETA
    | {"embedding_multiplier": 3.0, "residual_multiplier": 0.6, "attention_multiplier": 0.4, "logits_scaling": 0.5},
)
OLMO = variants(
    "olmo",
    "OlmoConfig",
    {},
    plain={},
    tied={"tie_word_embeddings": True},
    theta=THETA,
    clipped={"clip_qkv": 0.7},
    all_key_heads={"num_key_value_heads": 4},
    linear=LINEAR,
)
OLMO2 = variants(
    "olmo2",
    "Olmo2Config",
    {},
    plain={},
    tied={"tie_word_embeddings": True},
    theta=THETA,
    epsilon={"rms_norm_eps": 0.05},
    all_key_heads={"num_key_value_heads": 4},
    yarn=YARN,
    attention_bias={"attention_bias": True},
)
_OLMO3 = ["sliding_attention", "full_attention", "sliding_attention"]
OLMO3 = variants(
    "olmo2",
    "Olmo3Config",
    {"layer_types": _OLMO3},
    olmo3={},
    olmo3_theta=THETA,
    olmo3_window={"sliding_window": 24},
    olmo3_pattern_not_told={
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention"] * 3 + ["full_attention"],
        "keys": {"attention.sliding_window_pattern": None},
    },
)
