"""A configuration that is damaged, or that belongs to other weights, is refused by name; streamed or not."""

import contextlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import layerwise as lw
from benchmarks.tiny import always_streamed, tiny_config, tiny_model
from layerwise.errors import CheckpointWarning, CorruptFileError, UnsupportedModelError
from layerwise.models.libraries.refused_settings import what_failed

PROMPT = "The capital of Germany is"


@pytest.fixture(params=["resident", "streamed"])
def load(request):
    """Loads a folder's model, held in memory or streamed."""

    def loaded(folder: Path) -> lw.Model:
        with always_streamed() if request.param == "streamed" else contextlib.nullcontext():
            return lw.load(folder, device="cpu")

    return loaded


@pytest.fixture
def saved(tmp_path, toy_tokenizer):
    """Saves a transformers model under settings that it was not made with."""

    def save(hf_model: Any, **changed: Any) -> Path:
        hf_model.save_pretrained(tmp_path)
        toy_tokenizer(sentencepiece=False, bos=False).save_pretrained(tmp_path)
        settings = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(settings | changed))
        return tmp_path

    return save


def llama(**settings: Any) -> Any:
    return tiny_model(tiny_config(transformers.LlamaConfig, **settings))


def deepseek(**settings: Any) -> Any:
    return tiny_model(tiny_config(transformers.DeepseekV3Config, **settings))


def gpt2() -> Any:
    return tiny_model(tiny_config(transformers.GPT2Config, n_embd=64))


@pytest.mark.parametrize(
    ("make", "depth", "after"),
    [
        (llama, "num_hidden_layers", r"model\.layers\.2\.input_layernorm\.weight"),
        (gpt2, "n_layer", r"transformer\.h\.2\.attn"),
        (lambda: gpt2().transformer, "n_layer", r"h\.2\.attn"),
        (partial(deepseek, num_mtp_layers=0), "num_hidden_layers", r"model\.layers\.2\."),
    ],
    ids=["llama", "gpt2", "gpt2's backbone", "deepseek"],
)
def test_blocks_that_the_configuration_leaves_out_are_named(saved, load, make, depth, after):
    folder = saved(make(), architectures=None, **{depth: 2})
    with pytest.raises(CorruptFileError, match=rf"config\.json asks for 2 blocks, .* hold more .{after}"):
        load(folder)


def test_blocks_that_predict_further_tokens_ahead_are_left_out(saved, load):
    folder = saved(deepseek(num_hidden_layers=3), num_hidden_layers=2, num_nextn_predict_layers=1)
    assert load(folder).n_layers == 2


def test_blocks_that_transformers_leaves_out_on_purpose_are_left_out(saved, load, monkeypatch):
    monkeypatch.setattr(transformers.LlamaForCausalLM, "_keys_to_ignore_on_load_unexpected", [r"model\.layers\.3\..*"])
    assert load(saved(llama(), num_hidden_layers=3)).n_layers == 3


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"num_hidden_layers": 0}, r"asks for 0 blocks; expected 1 to 39"),
        ({"num_hidden_layers": 10**7}, r"asks for 10,000,000 blocks; expected 1 to 39"),
        ({"num_hidden_layers": "4"}, r"'num_hidden_layers' expected int, got str .value: '4'"),
        ({"num_attention_heads": 0}, r"ZeroDivisionError.*num_attention_heads is 0"),
        ({"num_key_value_heads": 0}, r"ZeroDivisionError.*num_key_value_heads is 0"),
        ({"dtype": "float99"}, r"no attribute 'float99'"),
        ({"hidden_act": "sine"}, r"KeyError: 'sine'"),
    ],
)
def test_settings_that_no_model_can_have_are_refused_with_their_file(saved, load, changed, said):
    folder = saved(llama(), **changed)
    with pytest.raises(CorruptFileError, match=rf"(?s){folder}.*{said}"):
        load(folder)


@pytest.mark.parametrize("architectures", [[3], 3, {}])
def test_architectures_that_are_no_names_do_no_harm(saved, load, architectures):
    assert load(saved(llama(), architectures=architectures)).n_layers == 4


def test_a_model_in_memory_without_blocks_is_refused(toy_tokenizer):
    with pytest.raises(UnsupportedModelError, match=r"gives it 0 blocks"):
        lw.load(llama(num_hidden_layers=0), tokenizer=toy_tokenizer(sentencepiece=False, bos=False))


@pytest.mark.parametrize("rows", [100, 700])
def test_a_vocabulary_of_another_size_is_refused_with_both_shapes(saved, load, rows):
    folder = saved(llama(), vocab_size=rows)
    with pytest.raises(CorruptFileError, match=rf"weight has shape \(530, 64\) .* asks for \({rows}, 64\)"):
        load(folder)


def test_an_output_head_of_its_own_is_read_though_the_configuration_ties_it(saved, load):
    hf_model = llama(tie_word_embeddings=False)
    with pytest.warns(CheckpointWarning, match="tie_word_embeddings"):
        model = load(saved(hf_model, tie_word_embeddings=True))
    ours = model.trace(PROMPT)
    with torch.no_grad():
        theirs = hf_model(torch.tensor([[token.id for token in ours.tokens]])).logits[0, -1].log_softmax(-1)
    assert ours.top_logprobs[-1, -1, 0] == pytest.approx(float(theirs.max()), abs=1e-4)


@pytest.mark.parametrize(
    "name", ["layers.0.self_attn.k_proj", "layers.3.input_layernorm", "norm", "embed_tokens", "lm_head"]
)
def test_weights_that_are_no_numbers_are_named(saved, load, name):
    hf_model = llama()
    damaged = hf_model.lm_head if name == "lm_head" else hf_model.model.get_submodule(name)
    with torch.no_grad():
        damaged.weight[...] = float("nan")
    folder = saved(hf_model)
    with pytest.raises(CorruptFileError, match=rf"weights in .*{name.split('.')[-1]}.weight are NaN or infinite"):
        load(folder).trace(PROMPT)


def test_an_error_is_told_with_the_sizes_that_are_none():
    settings = {"hidden_size": 0, "pad_token_id": 0, "attention.head_count": -1, "num_labels": True, "n_layer": 2}
    assert what_failed(ZeroDivisionError("modulo by zero"), settings) == (
        "ZeroDivisionError: modulo by zero (hidden_size is 0, attention.head_count is -1)"
    )
    assert what_failed(ValueError("no such activation"), {}) == "no such activation"
