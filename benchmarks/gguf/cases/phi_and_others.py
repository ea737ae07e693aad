"""Architectures with blocks of their own, most of them with layer norms."""

from benchmarks.gguf.case import variants
from benchmarks.gguf.cases.rotary import LINEAR, PLAIN_ROPE, ROPE, THETA, YARN, longrope, partial, partial_longrope

_PHI3 = {
    "original_max_position_embeddings": 1024,
    "rope_parameters": ROPE,
    "sliding_window": None,
    "num_key_value_heads": 2,
}

PHI3 = variants(
    "phi3",
    "Phi3Config",
    _PHI3,
    plain={},
    tied={"tie_word_embeddings": True},
    all_key_heads={"num_key_value_heads": 4},
    window={"sliding_window": 16},
    theta=THETA,
    partial=partial(0.5),
    uneven_share={"hidden_size": 176} | partial(0.69),
    longrope=longrope(16, 256),
    like_phi4_mini=partial_longrope(0.75, 12) | {"tie_word_embeddings": True},
    epsilon={"rms_norm_eps": 0.05},
    gelu={"hidden_act": "gelu", "lost": {"hidden_act": "silu"}},
    together={"tie_word_embeddings": True, "sliding_window": 40} | partial(0.75, rope_theta=500.0),
)
PHI2 = variants(
    "phi2",
    "PhiConfig",
    {"intermediate_size": 256, "num_key_value_heads": 4} | partial(0.5),
    plain={},
    partial=partial(0.25),
    whole=partial(1.0),
    theta=partial(0.5, rope_theta=500.0) | {"lost": partial(0.5)},
    epsilon={"layer_norm_eps": 0.05},
)
_GPT2 = {
    "n_embd": 64,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 1024,
    "attn_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "resid_pdrop": 0.0,
}

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
_NEOX = {"older": {"rotary_pct": 0.25}, "intermediate_size": 96} | partial(0.25)
GPT_NEOX = variants(
    "gptneox",
    "GPTNeoXConfig",
    _NEOX,
    plain={},
    tied={"tie_word_embeddings": True},
    one_after_another={"use_parallel_residual": False},
    partial=partial(0.75) | {"older": {"rotary_pct": 0.75}},
    theta=partial(0.25, rope_theta=500.0) | {"lost": partial(0.25)},
    epsilon={"layer_norm_eps": 0.05},
    no_bias={"attention_bias": False},
)
STARCODER2 = variants(
    "starcoder2",
    "Starcoder2Config",
    {"sliding_window": None},
    plain={},
    untied={"tie_word_embeddings": False},
    theta=THETA,
    linear=LINEAR,
    yarn=YARN,
    epsilon={"norm_epsilon": 0.05},
    no_bias={"use_bias": False},
    window={"sliding_window": 16, "lost": {"sliding_window": None}},
    together=THETA | {"norm_epsilon": 0.01, "tie_word_embeddings": False, "num_key_value_heads": 4},
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
    theta=THETA | {"lost": PLAIN_ROPE},
    alibi={"alibi": True, "lost": {"alibi": False}},
)

BLOOM = variants(
    "bloom",
    "BloomConfig",
    {"n_head": 4, "n_layer": 3},
    plain={},
    untied={"tie_word_embeddings": False},
    two_heads={"n_head": 2},
    six_heads={"n_head": 6, "hidden_size": 96},
    eight_heads={"n_head": 8},
    epsilon={"layer_norm_epsilon": 0.05},
    post_norm={
        "apply_residual_connection_post_layernorm": True,
        "lost": {"apply_residual_connection_post_layernorm": False},
    },
)

STABLELM = variants(
    "stablelm",
    "StableLmConfig",
    {"rope_parameters": ROPE | {"partial_rotary_factor": 0.25}},
    plain={},
    tied={"tie_word_embeddings": True},
    qkv_bias={"use_qkv_bias": True},
    parallel={"use_parallel_residual": True},
    qk_norms={"qk_layernorm": True},
    parallel_with_qk_norms={"use_parallel_residual": True, "qk_layernorm": True},
    uneven_share={"hidden_size": 176} | partial(0.69),
    partial={"rope_parameters": ROPE | {"partial_rotary_factor": 0.75}},
    theta={
        "rope_parameters": ROPE | {"rope_theta": 500.0, "partial_rotary_factor": 0.25},
        "lost": {"rope_parameters": ROPE | {"partial_rotary_factor": 0.25}},
    },
    epsilon={"layer_norm_eps": 0.05},
    all_key_heads={"num_key_value_heads": 4},
)
NEMOTRON = variants(
    "nemotron",
    "NemotronConfig",
    partial(0.5),
    plain={},
    tied={"tie_word_embeddings": True},
    partial=partial(0.25),
    whole=partial(1.0),
    uneven_share={"hidden_size": 176, "head_dim": 44} | partial(0.69),
    wide_heads={"head_dim": 32},
    yarn=partial(0.5, rope_type="yarn", factor=8.0, original_max_position_embeddings=128),
    theta=partial(0.5, rope_theta=500.0),
    linear=partial(0.5, rope_type="linear", factor=4.0),
    attention_bias={"attention_bias": True},
    mlp_bias={"mlp_bias": True},
    epsilon={"norm_eps": 0.05},
    silu={"hidden_act": "silu", "lost": {"hidden_act": "relu2"}},
)
COMMAND_R = variants(
    "command-r",
    "CohereConfig",
    {"logit_scale": 0.5},
    plain={},
    logit_scale={"logit_scale": 2.0},
    qk_norms={"use_qk_norm": True},
    theta=THETA,
    linear=LINEAR | {"lost": PLAIN_ROPE},
    epsilon={"layer_norm_eps": 0.05},
    all_key_heads={"num_key_value_heads": 4},
)
_COHERE2 = {"logit_scale": 0.5, "num_hidden_layers": 5, "older": {"rotary_pct": 1.0}}
COHERE2 = variants(
    "cohere2",
    "Cohere2Config",
    _COHERE2,
    plain={},
    logit_scale={"logit_scale": 2.0},
    window={"sliding_window": 24},
    theta=THETA,
    epsilon={"layer_norm_eps": 0.05},
    pattern={
        "layer_types": ["full_attention", "sliding_attention"] * 2 + ["full_attention"],
        "keys": {"attention.sliding_window_pattern": [False, True, False, True, False]},
    },
    layer_types={
        "layer_types": ["sliding_attention", "full_attention"] * 2 + ["sliding_attention"],
        "lost": {"layer_types": ["sliding_attention"] * 3 + ["full_attention", "sliding_attention"]},
    },
)
GLM4 = variants(
    "glm4",
    "Glm4Config",
    {"attention_bias": True} | partial(0.5),
    plain={},
    tied={"tie_word_embeddings": True},
    no_bias={"attention_bias": False},
    partial=partial(0.25),
    theta=partial(0.5, rope_theta=500.0),
    wide_heads={"head_dim": 32},
    epsilon={"rms_norm_eps": 0.05},
)
_ALIBI = {"alibi": True, "alibi_bias_max": 8, "clip_qkv": None}
_MPT = {
    "d_model": 64,
    "n_heads": 4,
    "n_layers": 3,
    "max_seq_len": 1024,
    "attn_config": _ALIBI,
    "older": {"architectures": ["MPTForCausalLM"]},
}
MPT = variants(
    "mpt",
    "MptConfig",
    _MPT,
    plain={},
    untied={"tie_word_embeddings": False},
    clipped={"attn_config": _ALIBI | {"clip_qkv": 0.7}},
    epsilon={"layer_norm_epsilon": 0.05, "lost": {"layer_norm_epsilon": 1e-5}},
    scale={"attn_config": _ALIBI | {"softmax_scale": 0.1}, "lost": {"attn_config": _ALIBI}},
)
