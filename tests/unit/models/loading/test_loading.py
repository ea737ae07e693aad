import dataclasses
from typing import Any

import pytest
import torch
import transformers

import layerwise as lw
from layerwise.errors import CorruptFileError, ModelError, PromptError, UnsupportedModelError

ENCODER: dict[str, Any] = {
    "vocab_size": 60,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "intermediate_size": 40,
}


def test_a_folder_and_memory_give_the_same_numbers(family_folder, load_family, fresh):
    stored, held = load_family("mistral"), fresh("mistral")
    prompt = "The capital of Germany is"
    from_folder, from_memory = stored.trace(prompt), held.trace(prompt)
    assert from_folder.top_logprobs.tolist() == from_memory.top_logprobs.tolist()
    assert stored.info.source == "folder"
    assert stored.info.location == str(family_folder("mistral"))
    assert held.info.source == "memory"


def test_the_checkpoint_really_is_sharded(family_folder):
    names = {file.name for file in family_folder("gemma2").iterdir()}
    assert {"config.json", "model.safetensors.index.json", "tokenizer.json"} <= names
    assert sum(name.endswith(".safetensors") for name in names) > 2


def test_info_says_what_the_model_is(load_family):
    info = load_family("gemma2").info
    assert (info.architecture, info.n_layers, info.d_model) == ("Gemma2ForCausalLM", 4, 64)
    assert (info.n_heads, info.n_kv_heads, info.vocab_size, info.context_length) == (4, 2, 530, 128)
    assert (info.dtype, info.device, info.revision) == ("float32", "cpu", None)
    assert info.parameters == sum(p.numel() for p in load_family("gemma2")._loaded.hf.parameters())
    assert len(info.weights_sum or "") == 64


def test_sum_in_memory_sees_a_single_changed_weight(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    same, same_tokenizer = fresh_parts("qwen3")
    before = lw.load(hf_model, tokenizer=hf_tokenizer).info.weights_sum
    assert lw.load(same, tokenizer=same_tokenizer).info.weights_sum == before
    with torch.no_grad():
        hf_model.model.norm.weight[3] += 1e-6
    assert lw.load(hf_model, tokenizer=hf_tokenizer).info.weights_sum != before


def test_sum_in_memory_takes_scalars_and_half_precision(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    hf_model.bfloat16().register_parameter("temperature", torch.nn.Parameter(torch.tensor(1.0)))
    assert len(lw.load(hf_model, tokenizer=hf_tokenizer).info.weights_sum or "") == 64


def test_a_model_in_memory_needs_its_tokenizer(fresh_parts):
    hf_model, _ = fresh_parts("qwen3")
    with pytest.raises(ModelError, match=r"Qwen3ForCausalLM without a tokenizer"):
        lw.load(hf_model)


def test_a_tokenizer_beside_a_name_is_refused(toy_tokenizer):
    with pytest.raises(ModelError, match=r"brings its own tokenizer"):
        lw.load("gemma-3-270m", tokenizer=toy_tokenizer(sentencepiece=False, bos=False))


@pytest.mark.parametrize("thing", [42, None, torch.nn.Linear(2, 2)])
def test_what_is_no_model_is_refused(thing, toy_tokenizer):
    with pytest.raises(ModelError, match=f"Expected a name, a path.*{type(thing).__name__}"):
        lw.load(thing, tokenizer=toy_tokenizer(sentencepiece=False, bos=False))


@pytest.mark.parametrize(
    ("architecture", "settings", "error", "reason"),
    [
        ("T5ForConditionalGeneration", {"d_ff": 40, "d_kv": 8}, UnsupportedModelError, "encoder-decoder"),
        ("BertForMaskedLM", {}, UnsupportedModelError, "encoder-only"),
        ("BertModel", {}, UnsupportedModelError, "encoder-only"),
        ("BertLMHeadModel", {}, UnsupportedModelError, "encoder-only"),
        ("RobertaModel", {}, UnsupportedModelError, "encoder-only"),
        ("BertLMHeadModel", {"is_decoder": True}, UnsupportedModelError, "final norm"),
        ("DebertaV2ForMaskedLM", {}, UnsupportedModelError, "no causal language model for 'deberta-v2'"),
        ("LlamaForSequenceClassification", {}, ModelError, "LlamaForSequenceClassification"),
    ],
)
def test_what_does_not_predict_the_next_token_is_refused(architecture, settings, error, reason, toy_tokenizer):
    kind = getattr(transformers, architecture)
    hf_model = kind(kind.config_class(**ENCODER | settings))
    with pytest.raises(error, match=reason):
        lw.load(hf_model, tokenizer=toy_tokenizer(sentencepiece=False, bos=False))


@pytest.mark.parametrize(
    ("kind", "reason"), [("BertForMaskedLM", "saved as BertForMaskedLM"), ("BertModel", "encoder-only")]
)
def test_an_encoder_saved_to_a_folder_is_refused_before_its_weights_are_read(tmp_path, toy_tokenizer, kind, reason):
    config = transformers.BertConfig(**ENCODER)
    getattr(transformers, kind)(config).save_pretrained(tmp_path)
    toy_tokenizer(sentencepiece=False, bos=False).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=reason):
        lw.load(tmp_path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(fresh_parts, bad):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    with torch.no_grad():
        hf_model.model.layers[2].mlp.up_proj.weight[1, :3] = bad
    with pytest.raises(CorruptFileError, match=r"3 of 6,144 weights in model.layers.2.mlp.up_proj.weight"):
        lw.load(hf_model, tokenizer=hf_tokenizer)


def test_weights_whose_sum_overflows_are_fine(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    with torch.no_grad():
        hf_model.model.embed_tokens.weight[:4] = 3e38
    assert lw.load(hf_model, tokenizer=hf_tokenizer).n_layers == 4


def test_a_missing_weight_is_refused_rather_than_made_up(tmp_path, fresh_parts):
    from safetensors.torch import load_file, save_file

    hf_model, hf_tokenizer = fresh_parts("qwen3")
    hf_model.save_pretrained(tmp_path)
    hf_tokenizer.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CorruptFileError, match=r"1 weights.*model.layers.1.mlp.up_proj.weight"):
        lw.load(tmp_path)


def test_a_model_in_training_mode_is_read_without_dropout_and_left_in_it(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("llama3", attention_dropout=0.5)
    calm = lw.load(hf_model.eval(), tokenizer=hf_tokenizer).trace("The capital of Germany is")
    hf_model.train().model.layers[2].eval()
    trace = lw.load(hf_model, tokenizer=hf_tokenizer).trace("The capital of Germany is")
    assert (trace.top_logprobs == calm.top_logprobs).all()
    assert hf_model.training
    assert not hf_model.model.layers[2].training


def test_what_a_model_in_memory_has_already_may_be_asked_for(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    assert lw.load(hf_model, tokenizer=hf_tokenizer, device="cpu", dtype="float32").n_layers == 4


@pytest.mark.parametrize("asked", [{"device": "cuda"}, {"dtype": "float16"}, {"revision": "x"}])
def test_what_a_model_in_memory_cannot_heed_is_refused(fresh_parts, asked):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    [(key, value)] = asked.items()
    with pytest.raises(ModelError, match=rf"so {key}='{value}' would change nothing"):
        lw.load(hf_model, tokenizer=hf_tokenizer, **asked)
    assert lw.load(hf_model, tokenizer=hf_tokenizer, device="auto", dtype="auto").n_layers == 4


def test_a_tokenizers_name_is_no_tokenizer(fresh_parts):
    hf_model, _ = fresh_parts("qwen3")
    with pytest.raises(ModelError, match=r"Expected a transformers tokenizer as tokenizer=; got 'gpt2'"):
        lw.load(hf_model, tokenizer="gpt2")


def test_a_prompt_with_a_token_that_the_model_has_no_row_for_is_refused(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    hf_tokenizer.add_tokens([f"<new{i}>" for i in range(len(hf_tokenizer), 531)])
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    with pytest.raises(PromptError, match=r"'<new530>' has id 530, .* ids below 530 only"):
        model.trace("The <new530>")
    assert model.trace("The <new529>")


def test_dtype_can_be_chosen(family_folder):
    model = lw.load(family_folder("qwen3"), device="cpu", dtype="bfloat16")
    assert model.info.dtype == "bfloat16"
    assert "bfloat16" in repr(model)


def test_loaded_models_weights_ask_for_no_gradients(load_family):
    assert not any(p.requires_grad for p in load_family("llama3")._loaded.hf.parameters())


def test_info_is_made_of_plain_values(tiny):
    assert all(isinstance(v, str | int | None) for v in dataclasses.asdict(tiny.info).values())
