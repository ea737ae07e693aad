"""What cannot be read layer by layer is refused, and the message says why."""

import json

import pytest
import torch
import transformers
from safetensors.torch import save_file

import layerwise as lw
from benchmarks.tiny import tiny_config, tiny_model
from layerwise.errors import UnsupportedModelError


@pytest.mark.parametrize(
    ("config", "settings", "reason"),
    [
        ("OpenAIGPTConfig", {}, r"0 of its modules could be the final norm"),
        ("ModernBertDecoderConfig", {}, r"its lm_head stands beside backbone and unembedding"),
        ("HrmTextConfig", {}, r"0 lists of \d+ blocks where one chain was expected"),
        ("OPTConfig", {"word_embed_proj_dim": 32}, r"final norm gives 64 numbers and its unembedding takes 32"),
        ("DeepseekV4Config", {}, r"a hidden state of shape \(1, \d+, 4, 64\) came, not one per position"),
    ],
)
def test_decoders_whose_blocks_or_head_are_otherwise(config, settings, reason, toy_tokenizer):
    hf_model = tiny_model(tiny_config(getattr(transformers, config), **settings))
    with pytest.raises(UnsupportedModelError, match=reason):
        lw.load(hf_model, tokenizer=toy_tokenizer(sentencepiece=False, bos=False)).trace("The capital")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "t5", "is_encoder_decoder": True}, r"it is an encoder-decoder"),
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, r"does not predict the next token"),
        ({"model_type": "roberta"}, r"it is encoder-only"),
        ({"model_type": "llava"}, r"transformers has no causal language model for 'llava'"),
        ({"model_type": "vit"}, r"transformers has no causal language model for 'vit'"),
        (
            {"model_type": "internlm2", "auto_map": {"AutoConfig": "a.B"}},
            r"its own code would have to run.*--trust-remote-code",
        ),
        ({"model_type": "no-such-thing"}, r"transformers does not know the architecture 'no-such-thing'"),
    ],
)
def test_what_is_no_decoder_is_refused_before_its_weights_are_read(config, reason, tmp_path, toy_tokenizer):
    (tmp_path / "config.json").write_text(json.dumps(config))
    toy_tokenizer(sentencepiece=False, bos=False).save_pretrained(tmp_path)
    save_file({"weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedModelError, match=reason):
        lw.load(tmp_path)
