"""Mixtures of experts."""

from benchmarks.gguf.case import variants
from benchmarks.gguf.cases.rotary import PLAIN_ROPE, THETA, YARN, partial, scaled

QWEN2_MOE = variants(
    "qwen2moe",
    "Qwen2MoeConfig",
    {},
    plain={},
    tied={"tie_word_embeddings": True},
    three_of_five={"num_experts": 5, "num_experts_per_tok": 3},
    one={"num_experts_per_tok": 1},
    widths={"moe_intermediate_size": 48, "shared_expert_intermediate_size": 24},
    no_bias={"qkv_bias": False},
    theta=THETA,
    epsilon={"rms_norm_eps": 0.05},
    normed={"norm_topk_prob": True, "lost": {"norm_topk_prob": False}},
)
QWEN3_MOE = variants(
    "qwen3moe",
    "Qwen3MoeConfig",
    {"norm_topk_prob": True},
    plain={},
    tied={"tie_word_embeddings": True},
    three_of_five={"num_experts": 5, "num_experts_per_tok": 3},
    one={"num_experts_per_tok": 1},
    width={"moe_intermediate_size": 48},
    wide_heads={"head_dim": 32},
    yarn=YARN,
    epsilon={"rms_norm_eps": 0.05},
    not_normed={"norm_topk_prob": False, "lost": {"norm_topk_prob": True}},
)
_PAST = scaled("yarn", factor=8.0, original_max_position_embeddings=128, beta_fast=32.0, beta_slow=1.0, truncate=False)
_PAIR = ["sliding_attention", "full_attention", "sliding_attention"]
GPT_OSS = variants(
    "gpt-oss",
    "GptOssConfig",
    {"layer_types": _PAIR} | _PAST,
    plain={},
    tied={"tie_word_embeddings": True},
    no_scaling=PLAIN_ROPE,
    theta=scaled("yarn", factor=8.0, original_max_position_embeddings=128, truncate=False, rope_theta=500.0),
    window={"sliding_window": 24},
    pattern={
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
        "keys": {"attention.sliding_window_pattern": [False, True, True]},
    },
    three_of_five={"num_local_experts": 5, "num_experts_per_tok": 3},
    one={"num_experts_per_tok": 1},
    wide_heads={"head_dim": 32},
    epsilon={"rms_norm_eps": 0.05},
)
_MINIMAX = {"older": {"scoring_func": "sigmoid", "rotary_dim": 8}} | partial(0.5)
MINIMAX = variants(
    "minimax-m2",
    "MiniMaxM2Config",
    _MINIMAX,
    plain={},
    tied={"tie_word_embeddings": True},
    three_of_five={"num_local_experts": 5, "num_experts_per_tok": 3},
    theta=partial(0.5, rope_theta=500.0),
    epsilon={"rms_norm_eps": 0.05},
    uneven_share={"head_dim": 44, "older": {"scoring_func": "sigmoid", "rotary_dim": 30}} | partial(0.69),
    whole=partial(1.0) | {"older": {"scoring_func": "sigmoid", "rotary_dim": 16}},
)
