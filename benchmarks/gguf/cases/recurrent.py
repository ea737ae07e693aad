"""Architectures that carry a state from token to token, some beside attention."""

from benchmarks.gguf.case import variants
from benchmarks.gguf.cases.rotary import THETA, partial

MAMBA = variants(
    "mamba",
    "MambaConfig",
    {},
    plain={},
    untied={"tie_word_embeddings": False},
    state={"state_size": 8},
    kernel={"conv_kernel": 3},
    one_step={"conv_kernel": 1},
    rank={"time_step_rank": 7},
    epsilon={"layer_norm_epsilon": 0.05},
    bias={"use_bias": True},
)
_LFM2 = {
    "num_hidden_layers": 4,
    "layer_types": ["conv", "full_attention", "conv", "full_attention"],
    "block_auto_adjust_ff_dim": False,
}
LFM2 = variants(
    "lfm2",
    "Lfm2Config",
    _LFM2,
    plain={},
    untied={"tie_word_embeddings": False},
    adjusted={"block_auto_adjust_ff_dim": True, "block_multiple_of": 16},
    layer_types={"layer_types": ["full_attention", "conv", "conv", "full_attention"]},
    kernel={"conv_L_cache": 4},
    theta=THETA,
    epsilon={"norm_eps": 0.05},
)
_QWEN35 = {
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
} | partial(0.5, mrope_section=[2, 1, 1], mrope_interleaved=True)
QWEN35 = variants(
    "qwen35",
    "Qwen3_5TextConfig",
    _QWEN35,
    plain={},
    tied={"tie_word_embeddings": True},
    all_keys={"linear_num_key_heads": 4},
    one_key={"linear_num_key_heads": 1},
    kernel={"linear_conv_kernel_dim": 3},
    one_step={"linear_conv_kernel_dim": 1},
    wide_heads={"head_dim": 32} | partial(0.25, mrope_section=[2, 1, 1], mrope_interleaved=True),
    theta=partial(0.5, mrope_section=[2, 1, 1], mrope_interleaved=True, rope_theta=500.0),
    partial=partial(1.0, mrope_section=[3, 3, 2], mrope_interleaved=True),
    uneven_share={"head_dim": 44} | partial(0.69, mrope_section=[5, 5, 5], mrope_interleaved=True),
    epsilon={"rms_norm_eps": 0.05},
    layer_types={"layer_types": ["linear_attention", "full_attention"] * 2},
)
QWEN35_MOE = variants(
    "qwen35moe",
    "Qwen3_5MoeTextConfig",
    _QWEN35,
    plain={},
    tied={"tie_word_embeddings": True},
    three_of_five={"num_experts": 5, "num_experts_per_tok": 3},
    widths={"moe_intermediate_size": 48, "shared_expert_intermediate_size": 24},
    epsilon={"rms_norm_eps": 0.05},
)
