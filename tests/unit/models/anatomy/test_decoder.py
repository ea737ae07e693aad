from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from layerwise.errors import UnsupportedModelError
from layerwise.models.anatomy.decoder import find_parts


def test_parts_are_the_models_own_modules(family):
    hf_model, parts = family._loaded.hf, family._loaded.parts
    assert parts.backbone is hf_model.model
    assert parts.blocks is hf_model.model.layers
    assert parts.final_norm is hf_model.model.norm
    assert parts.unembedding is hf_model.lm_head


SMALL: dict[str, Any] = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("config", "settings", "norm"),
    [
        ("GPT2Config", {"vocab_size": 60, "n_embd": 32, "n_layer": 3, "n_head": 4}, "ln_f"),
        ("GPTNeoXConfig", SMALL | {"intermediate_size": 40}, "final_layer_norm"),
        ("PhiConfig", SMALL | {"intermediate_size": 40, "pad_token_id": 0}, "final_layernorm"),
        ("Olmo2Config", SMALL | {"intermediate_size": 40, "pad_token_id": 0}, "norm"),
        ("Qwen2Config", SMALL | {"intermediate_size": 40, "num_key_value_heads": 2}, "norm"),
    ],
)
def test_parts_of_other_decoders(config, settings, norm):
    hf_model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, config)(**settings))
    parts = find_parts(hf_model)
    assert len(parts.blocks) == 3
    assert parts.final_norm is getattr(parts.backbone, norm)


class Decoder(nn.Module):
    """The least that is looked at, to be spoiled by the tests."""

    def __init__(self, depth=2, **parts):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.norm = nn.LayerNorm(4)
        self.head: nn.Module | None = nn.Linear(4, 9)
        text = SimpleNamespace(num_hidden_layers=depth)
        self.config = SimpleNamespace(get_text_config=lambda decoder: text)
        for name, part in parts.items():
            setattr(self, name, part)

    def get_decoder(self):
        return self if getattr(self, "own_backbone", False) else SimpleBackbone(self)

    def get_output_embeddings(self):
        return self.head


class SimpleBackbone(nn.Module):
    def __init__(self, outer):
        super().__init__()
        for name, child in outer.named_children():
            setattr(self, name, child)


def test_the_stand_in_is_taken_apart_when_nothing_is_wrong():
    assert len(find_parts(Decoder()).blocks) == 2


@pytest.mark.parametrize(
    ("spoiled", "reason"),
    [
        ({"own_backbone": True}, "no backbone apart"),
        ({"head": None}, "no output embeddings"),
        ({"depth": 3}, "0 lists of 3 blocks"),
        ({"more": nn.ModuleList(nn.Linear(4, 4) for _ in range(2))}, "2 lists of 2 blocks"),
        ({"norm": None}, "0 of its modules could be the final norm"),
        ({"ln_f": nn.LayerNorm(4)}, "2 of its modules could be the final norm"),
    ],
)
def test_a_missing_or_ambiguous_part_is_named(spoiled, reason):
    with pytest.raises(UnsupportedModelError, match=reason):
        find_parts(Decoder(**spoiled))


def test_an_encoder_has_no_such_parts():
    torch.manual_seed(0)
    settings: dict[str, Any] = {**SMALL, "intermediate_size": 40}
    config = transformers.BertConfig(**settings)
    with pytest.raises(UnsupportedModelError, match=r"BertForMaskedLM cannot be read layer by layer"):
        find_parts(transformers.BertForMaskedLM(config))


@pytest.mark.parametrize("embedded", [32, 16])
def test_a_map_between_final_norm_and_unembedding_is_refused(embedded):
    config = transformers.OPTConfig(**SMALL, ffn_dim=40, word_embed_proj_dim=embedded)
    hf_model = transformers.AutoModelForCausalLM.from_config(config)
    if embedded == 32:
        assert len(find_parts(hf_model).blocks) == 3
    else:
        with pytest.raises(UnsupportedModelError, match=r"final norm gives 32 numbers and its unembedding takes 16"):
            find_parts(hf_model)
