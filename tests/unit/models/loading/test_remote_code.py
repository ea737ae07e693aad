import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

import layerwise as lw
from benchmarks.tiny import always_streamed, tiny_config, tiny_model
from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models.sources import hub

CODE = """
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM

Path({ran!r}).touch()


class OwnConfig(LlamaConfig):
    model_type = "own-code"


class OwnForCausalLM(LlamaForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture
def own_code(tmp_path, toy_tokenizer, monkeypatch) -> Path:
    """A checkpoint of an architecture that only its own code knows."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    folder = tmp_path / "own"
    tiny_model(tiny_config(LlamaConfig)).save_pretrained(folder)
    toy_tokenizer(sentencepiece=False, bos=False).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"], config["architectures"] = "own-code", ["OwnForCausalLM"]
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(CODE.format(ran=str(tmp_path / "ran")))
    return folder


def test_code_that_comes_with_weights_does_not_run_unasked(own_code):
    with pytest.raises(UnsupportedModelError, match=r"own-code.*trust_remote_code=True"):
        lw.load(own_code)
    assert not (own_code.parent / "ran").exists()


def test_trusted_code_is_read_like_any_other(own_code):
    trace = lw.load(own_code, trust_remote_code=True).trace("The capital")
    with always_streamed():
        streamed = lw.load(own_code, trust_remote_code=True, memory="1TB").trace("The capital")
    assert (own_code.parent / "ran").exists()
    assert trace.model.architecture == "OwnForCausalLM"
    np.testing.assert_array_equal(trace.top_ids, streamed.top_ids)
    np.testing.assert_allclose(trace.entropy_bits, streamed.entropy_bits, atol=1e-4)


def test_a_known_architecture_does_not_run_outdated_code_of_its_own(own_code):
    config = json.loads((own_code / "config.json").read_text())
    (own_code / "config.json").write_text(json.dumps(config | {"model_type": "llama"}))
    assert lw.load(own_code, trust_remote_code=True).info.architecture == "LlamaForCausalLM"


def test_trusted_code_without_a_causal_model_is_refused(own_code):
    config = json.loads((own_code / "config.json").read_text())
    del config["auto_map"]["AutoModelForCausalLM"]
    (own_code / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModelError, match="names no causal language model"):
        lw.load(own_code, trust_remote_code=True)


def test_code_of_a_tokenizer_is_not_asked_about_at_the_terminal(own_code):
    config = json.loads((own_code / "config.json").read_text())
    config["model_type"] = "llama"
    del config["auto_map"]
    (own_code / "config.json").write_text(json.dumps(config))
    settings = json.loads((own_code / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "OwnTokenizer", "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    (own_code / "tokenizer_config.json").write_text(json.dumps(settings))
    asked = mock.patch("builtins.input", side_effect=AssertionError("asked"))
    with asked, pytest.raises(CorruptFileError, match="custom code"):
        lw.load(own_code)
    assert not (own_code.parent / "ran").exists()


def test_code_is_fetched_from_the_hub_only_when_trusted(tmp_path):
    folder = tmp_path / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").touch()
    with mock.patch("huggingface_hub.snapshot_download", return_value=str(folder)) as download:
        hub.fetch("org/name")
        assert download.call_count == 1  # cached whole
        hub.fetch("org/name", with_code=True)
    assert download.call_args.kwargs["allow_patterns"] == [*hub.PATTERNS, "*.py"]
    assert not any(pattern.endswith(".py") for pattern in hub.PATTERNS)


def of_2023(model_class):
    """Give a model class the forward that models' own code had in 2023: no logits_to_keep, no **kwargs, a tuple."""
    usual = model_class.forward

    class Old(model_class):
        def forward(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=None, return_dict=None):
            output = usual(self, input_ids=input_ids, past_key_values=past_key_values, use_cache=use_cache)
            return output if return_dict else (output.logits, output.past_key_values)

    return Old


def test_a_forward_of_older_code_is_called_with_what_it_takes(toy_tokenizer):
    old = of_2023(LlamaForCausalLM)(tiny_config(LlamaConfig)).eval()
    hf_tokenizer = toy_tokenizer(sentencepiece=False, bos=False)
    plain = LlamaForCausalLM(old.config).eval()
    plain.load_state_dict(old.state_dict())
    for generate in (0, 3):
        ours, theirs = (
            lw.load(m, tokenizer=hf_tokenizer).trace("The capital", positions="all", generate=generate)
            for m in (old, plain)
        )
        assert ours.generated == theirs.generated
        np.testing.assert_array_equal(ours.top_logprobs, theirs.top_logprobs)


def test_a_model_in_memory_may_be_of_an_architecture_that_transformers_does_not_know(toy_tokenizer):
    class OwnConfig(LlamaConfig):
        model_type = "own-in-memory"

    hf_model = LlamaForCausalLM(tiny_config(OwnConfig)).eval()
    hf_tokenizer = toy_tokenizer(sentencepiece=False, bos=False)
    assert lw.load(hf_model, tokenizer=hf_tokenizer).trace("The capital").checks.identity_error < 1e-4


def test_a_forward_that_fails_is_named(toy_tokenizer):
    class Outdated(LlamaForCausalLM):
        def forward(self, *_, **__):
            raise AttributeError("'DynamicCache' object has no attribute 'seen_tokens'")

    hf_model = Outdated(tiny_config(LlamaConfig)).eval()
    with pytest.raises(UnsupportedModelError, match=r"own forward fails.*seen_tokens.*may be older"):
        lw.load(hf_model, tokenizer=toy_tokenizer(sentencepiece=False, bos=False))
