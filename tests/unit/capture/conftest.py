from typing import Any

import pytest
import torch
import transformers

import layerwise as lw

_SHAPE: dict[str, Any] = {
    "vocab_size": 530,
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
_GROUPED: dict[str, Any] = _SHAPE | {"num_key_value_heads": 2, "intermediate_size": 96, "pad_token_id": 0}
_DECODERS: dict[str, dict[str, Any]] = {
    "BloomConfig": {"vocab_size": 530, "hidden_size": 64, "n_layer": 4, "n_head": 4},
    "FalconConfig": _SHAPE,
    "Gemma3nTextConfig": _GROUPED
    | {
        "head_dim": 16,
        "vocab_size_per_layer_input": 530,
        "hidden_size_per_layer_input": 8,
        "laurel_rank": 4,
        "num_kv_shared_layers": 0,
        "layer_types": ["full_attention"] * 4,
        "activation_sparsity_pattern": [0.0] * 4,
    },
    "GPT2Config": {"vocab_size": 530, "n_embd": 64, "n_layer": 4, "n_head": 4},
    "GPTJConfig": {"vocab_size": 530, "n_embd": 64, "n_layer": 4, "n_head": 4, "rotary_dim": 8},
    "GPTNeoConfig": {
        "vocab_size": 530,
        "hidden_size": 64,
        "num_layers": 4,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 2]],
        "window_size": 4,
    },
    "GPTNeoXConfig": _SHAPE | {"intermediate_size": 96},
    "Gemma3TextConfig": _GROUPED | {"head_dim": 16, "sliding_window": 6, "sliding_window_pattern": 2},
    "MambaConfig": {"vocab_size": 530, "hidden_size": 64, "num_hidden_layers": 4},
    "MistralConfig": _GROUPED | {"sliding_window": 5},
    "MptConfig": {"vocab_size": 530, "d_model": 64, "n_layers": 4, "n_heads": 4},
    "OPTConfig": _SHAPE | {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "Olmo2Config": _GROUPED,
    "Phi3Config": _GROUPED,
}


@pytest.fixture
def decoder(toy_tokenizer):
    """Makes a small random model of another architecture than the families', by its configuration's name."""

    def make(config: str) -> lw.Model:
        torch.manual_seed(0)
        settings = getattr(transformers, config)(**_DECODERS[config])
        hf_model = transformers.AutoModelForCausalLM.from_config(settings).eval()
        return lw.load(hf_model, tokenizer=toy_tokenizer(sentencepiece=False, bos=False))

    return make
