"""Tiny random models of any architecture that transformers can build, from its real configuration class."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from layerwise.models.machine import device

VOCABULARY = 530
"""More than a tokenizer of 512 tokens has, and no multiple of 64."""

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "sliding_window": 4,  # every prompt reaches past it
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
    # mixtures of experts
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "moe_shared_expert_intermediate_size": 32,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_k": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    # latent attention
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    # state spaces and linear attention
    "mamba_n_heads": 4,
    "mamba_d_head": 32,
    "mamba_d_state": 8,
    "mamba_n_groups": 1,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "rotary_dim": 8,
}
"""Used where a configuration class has a setting of this name."""

_SETTINGS: dict[str, dict[str, Any]] = {
    "BambaConfig": {"attn_layer_indices": [1, 3]},
    "FalconH1Config": {"mamba_d_ssm": 128, "lm_head_multiplier": 0.5},
    "GPTNeoConfig": {"attention_types": [[["global", "local"], 2]], "window_size": 4},
    "Gemma3Config": {
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        "mm_tokens_per_image": 4,
    },
    "ModernBertDecoderConfig": {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1},
    "Gemma4TextConfig": {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8, "pad_token_id": 0},
    "JambaConfig": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 8, "mamba_dt_rank": 4},
    "Lfm2MoeConfig": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "Lfm2Config": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "GraniteMoeHybridConfig": {"layer_types": ["mamba", "attention", "mamba", "attention"]},
    "Mamba2Config": {"num_heads": 4, "head_dim": 32, "state_size": 8, "n_groups": 1},
    "OPTConfig": {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "RwkvConfig": {"rescale_every": 2},  # once every six blocks in models of real depth
    "XGLMConfig": {"d_model": 64, "ffn_dim": 96, "num_layers": 4, "attention_heads": 4},
    "Zamba2Config": {
        "layers_block_type": ["linear_attention", "hybrid", "linear_attention", "hybrid"],
        "n_mamba_heads": 4,
        "mamba_headdim": 32,
        "mamba_d_state": 8,
        "mamba_ngroups": 1,
        "num_mem_blocks": 1,
    },
}
"""By configuration class: what the sizes above do not suit."""


def tiny_config(config_class: type, **changes: Any) -> Any:
    """Return a configuration of a class with sizes that suit a test; `changes` have the last word, by either name.

    Raises:
        Exception: whatever the class has against them.
    """
    known = inspect.signature(config_class.__init__).parameters
    aliases = getattr(config_class, "attribute_map", {})
    names, asked = {*known, *aliases}, {aliases.get(name, name) for name in changes}
    sizes = {name: size for name, size in _SIZES.items() if name in names and aliases.get(name, name) not in asked}
    if "qk_rope_head_dim" in names:  # latent attention has a width of its own for every part, and no groups
        sizes = {name: size for name, size in sizes.items() if name != "head_dim"} | {"num_key_value_heads": 4}
    within = {
        name: tiny_config(part).to_dict()
        for name, part in getattr(config_class, "sub_configs", {}).items()
        if name in known and part.__name__ != "AutoConfig"
    }
    return config_class(**sizes | within | _SETTINGS.get(config_class.__name__, {}) | changes)


def tiny_model(config: Any, seed: int = 7) -> Any:
    """Return a transformers model with random weights, drawn so wide that its logits spread over tens.

    Gains come out far from 1 and biases far from 0, so that a lens that leaves something out shows.
    """
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    hf_model = AutoModelForCausalLM.from_config(config).eval()
    draw = torch.Generator().manual_seed(seed)
    tables = {id(module.weight) for module in (hf_model.get_input_embeddings(), hf_model.get_output_embeddings())}
    with torch.no_grad():
        for name, parameter in hf_model.named_parameters():
            if parameter.dim() == 1:  # around the model's own start: Gemma adds 1 to a gain, others don't
                parameter.add_(torch.empty_like(parameter).uniform_(-0.8, 1.0, generator=draw))
            elif not name.endswith("A_log"):  # decay rates of state spaces, which must stay moderate
                width = 0.65 if id(parameter) in tables else 0.25
                parameter.normal_(0.0, width, generator=draw)
    return hf_model


def byte_tokenizer() -> Any:
    """Return a tokenizer with a token for each byte, for models that are only asked whether they run."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = ["<pad>", "<eos>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    inner = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")


def save(hf_model: Any, hf_tokenizer: Any, folder: Path) -> Path:
    """Return `folder` with the model in the hub's layout, in several shards, and its tokenizer."""
    hf_model.save_pretrained(folder, max_shard_size="100KB")
    hf_tokenizer.save_pretrained(folder)
    return folder


@contextmanager
def always_streamed() -> Iterator[None]:
    """Have models that are loaded inside the block streamed, be there ever so much memory."""
    with mock.patch.object(device, "placement_in_memory", lambda *_: None):
        yield
