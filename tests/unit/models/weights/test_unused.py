"""What stands in the files and nowhere in the model: refused, named or left aside, whole and streamed alike."""

import contextlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import layerwise as lw
from benchmarks.tiny import always_streamed, tiny_config, tiny_model
from layerwise.errors import CheckpointWarning, CorruptFileError, UnsupportedModelError

PROMPT = "The capital of Germany is"


@pytest.fixture(params=["whole", "streamed"])
def load(request):
    """Loads a folder in each of the two ways."""

    def run(folder: Path, **how) -> lw.Model:
        if request.param == "whole":
            return lw.load(folder, device="cpu", **how)
        with always_streamed():
            return lw.load(folder, device="cpu", **how)

    return run


@pytest.fixture
def saved(tmp_path, toy_tokenizer):
    """Writes a tiny checkpoint in one file, and gives its folder and model."""

    def make(config: str = "LlamaConfig", **settings):
        hf_model = tiny_model(tiny_config(getattr(transformers, config), **settings))
        hf_model.save_pretrained(tmp_path)
        toy_tokenizer(sentencepiece=False, bos=False).save_pretrained(tmp_path)
        return tmp_path, hf_model

    return make


def add(folder: Path, **tensors: torch.Tensor) -> None:
    """Put more tensors into a checkpoint's file."""
    held = load_file(folder / "model.safetensors")
    save_file(held | tensors, folder / "model.safetensors", metadata={"format": "pt"})


def set_config(folder: Path, **settings) -> None:
    held = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({k: v for k, v in (held | settings).items() if v is not None}))


@pytest.mark.parametrize(
    ("config", "lost", "name", "part"),
    [
        ("LlamaConfig", "attention_bias", r"layers\.0\.self_attn\.\w+\.bias", "block 0"),
        ("LlamaConfig", "mlp_bias", r"layers\.0\.mlp\.\w+\.bias", "block 0"),
        ("PhiConfig", "qk_layernorm", r"layers\.0\.self_attn\.[kq]_layernorm\.\w+", "block 0"),
    ],
)
def test_weights_whose_setting_was_lost_are_refused_by_name(load, saved, config, lost, name, part):
    folder, _ = saved(config, **{lost: True})
    set_config(folder, **{lost: False})
    with pytest.raises(CorruptFileError, match=rf"would be left out \(model\.{name}.*belongs to its {part}"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "shape", "part"),
    [
        ("model.layers.3.self_attn.sinks", (4,), "block 3"),
        ("layers.1.mlp.up_proj.bias", (96,), "block 1"),  # saved from the backbone alone
        ("model.layers.2.post_feedforward_layernorm.weight", (64,), "block 2"),
        ("model.norm.bias", (64,), "final norm"),
        ("model.embed_norm.weight", (64,), "norm"),
        ("model.embed_tokens.weight_scale", (1,), "embedding"),
        ("model.embed_positions.weight", (128, 64), "position table"),
        ("lm_head.bias", (530,), "unembedding"),
        ("lm_head.weight_scale_inv", (1,), "unembedding"),
        ("logit_scale", (), "scale"),
        ("output.weight", (530, 64), "head"),
        ("model.language_model.layers.1.mlp.up_proj.weight", (96, 64), "block 1"),
        ("_orig_mod.model.norm.weight", (64,), "final norm"),
        ("module.lm_head.weight", (530, 64), "unembedding"),
        ("transformer.h.0.attn.c_attn.weight", (64, 192), "block"),
        ("transformer.wte.weight", (530, 64), "embedding"),
        ("model.project_out.weight", (64, 64), "projection"),
    ],
)
def test_a_weight_of_the_decoder_that_it_has_no_place_for_is_refused(load, saved, name, shape, part):
    folder, _ = saved()
    add(folder, **{name: torch.ones(shape)})
    with pytest.raises(CorruptFileError, match=rf"left out \({name}\).*belongs to its {part}\."):
        load(folder)


@pytest.mark.parametrize(
    "name",
    [
        "vision_tower.encoder.layers.0.layer_norm1.weight",
        "model.multi_modal_projector.mm_soft_emb_norm.weight",
        "v_head.summary.weight",
        "model.mtp.layers.0.norm.weight",
    ],
)
def test_weights_beside_the_decoder_are_named_and_left_out(load, saved, name):
    folder, hf_model = saved()
    add(folder, **{name: torch.ones(64)})
    with pytest.warns(CheckpointWarning, match=f"1 weights in the files of .* were left out: {name}"):
        trace = load(folder).trace(PROMPT)
    expected = lw.load(hf_model, tokenizer=transformers.AutoTokenizer.from_pretrained(folder)).trace(PROMPT)
    np.testing.assert_allclose(trace.top_logprobs, expected.top_logprobs, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "name", "tensor"),
    [
        ("LlamaConfig", "model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(8)),
        ("GPT2Config", "transformer.h.0.attn.bias", torch.ones(1, 1, 128, 128).tril()),
        ("GPT2Config", "transformer.h.0.attn.masked_bias", torch.tensor(-1e4)),
        ("GPTNeoXConfig", "gpt_neox.layers.1.attention.bias", torch.ones(1, 1, 128, 128, dtype=torch.bool).tril()),
    ],
)
def test_buffers_that_models_compute_themselves_are_left_aside(load, saved, config, name, tensor):
    folder, _ = saved(config)
    add(folder, **{name: tensor})
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        load(folder)


def test_a_bias_under_the_name_of_a_mask_is_refused(load, saved):
    folder, _ = saved("GPT2Config")
    add(folder, **{"transformer.h.0.attn.bias": torch.ones(192)})
    with pytest.raises(CorruptFileError, match=r"transformer\.h\.0\.attn\.bias belongs to its block 0"):
        load(folder)


@pytest.mark.parametrize(
    "name",
    [
        "model.layers.0.mlp.up_proj.lora_A.weight",
        "base_model.model.model.layers.0.mlp.up_proj.lora_B.default.weight",
        "base_model.model.model.layers.0.mlp.up_proj.base_layer.weight",
        "model.adapters.0.down.weight",
        "prompt_embeddings",
    ],
)
def test_an_adapter_among_the_weights_is_refused_with_the_way_out(load, saved, name):
    folder, _ = saved()
    add(folder, **{name: torch.ones(4, 64)})
    with pytest.raises(CorruptFileError, match=rf"left out \({name}\).*merge_and_unload\(\)"):
        load(folder)


def test_a_checkpoint_whose_names_all_begin_otherwise_is_refused_with_one_of_them(load, saved):
    folder, _ = saved()
    held = load_file(folder / "model.safetensors")
    renamed = {name.replace("model.", "model.language_model."): tensor for name, tensor in held.items()}
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CorruptFileError, match=r"model\.language_model\.\S+ belongs to its.*in front of the names"):
        load(folder)


@pytest.mark.parametrize("dtype", [torch.int8, torch.bool, torch.float8_e4m3fn, torch.uint8])
@pytest.mark.parametrize("setting", [{}, {"quantization_config": None}])
def test_packed_weights_without_a_word_in_the_settings_are_refused(load, saved, dtype, setting):
    folder, hf_model = saved()
    name = "model.layers.0.mlp.up_proj.weight"
    add(folder, **{name: hf_model.state_dict()[name].mul(10).to(dtype)})
    held = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(held | setting))
    with pytest.raises(UnsupportedModelError, match=rf"{name} is stored as {str(dtype)[6:]}"):
        load(folder)


def test_fp8_scales_without_their_setting_are_refused(load, saved):
    folder, hf_model = saved()
    scaled = {}
    for name, weight in hf_model.state_dict().items():
        if "_proj" in name:
            scaled[name] = (weight / weight.abs().max() * 448).to(torch.float8_e4m3fn)
            scaled[f"{name}_scale"] = weight.abs().max() / 448
    add(folder, **scaled)
    with pytest.raises(CorruptFileError, match=r"weight_scale.*the quantization_config that scales belong to"):
        load(folder)


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_a_stored_head_is_read_though_the_settings_tie_it(load, saved, factor):
    """As transformers reads it; a copy of the embedding is no other head."""
    folder, hf_model = saved(tie_word_embeddings=True)
    embedding = hf_model.get_input_embeddings().weight.detach()
    add(folder, **{"lm_head.weight": embedding * factor})
    told = pytest.warns(CheckpointWarning, match=r"tie_word_embeddings.*another one, lm_head\.weight")
    with contextlib.nullcontext() if factor == 1 else told:
        model = load(folder)
    assert torch.equal(model._loaded.output_head.weight, embedding * factor)


def test_two_names_for_one_weight_are_refused_unless_they_are_equal(load, saved):
    folder, hf_model = saved()
    norm = hf_model.model.norm.weight.detach()
    add(folder, **{"norm.weight": norm.clone()})
    load(folder)
    add(folder, **{"norm.weight": norm + 1})
    with pytest.raises(CorruptFileError, match=r"norm\.weight and norm\.weight are stored with different numbers"):
        load(folder)


def test_a_whole_file_beside_an_index_of_shards_is_read_and_told(load, saved):
    folder, hf_model = saved(tie_word_embeddings=False)
    norm = "model.norm.weight"
    save_file({norm: hf_model.state_dict()[norm] + 1}, folder / "model-00001-of-00001.safetensors", {"format": "pt"})
    where = {"metadata": {}, "weight_map": {norm: "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(where))
    with pytest.warns(CheckpointWarning, match="both model.safetensors and an index"):
        model = load(folder)
    assert torch.equal(model._loaded.parts.final_norm.weight, hf_model.state_dict()[norm])


@pytest.mark.parametrize(("damage", "said"), [(None, "in none of"), (float("nan"), "NaN or infinite")])
@pytest.mark.parametrize("config", ["MiniMaxM2Config", "DeepseekV3Config"])
def test_biases_by_which_experts_are_chosen_are_needed_though_they_are_no_parameters(load, saved, config, damage, said):
    folder, _ = saved(config)
    held = load_file(folder / "model.safetensors")
    name = max(name for name in held if name.endswith("e_score_correction_bias"))
    bias = held.pop(name)
    if damage is not None:
        held[name] = torch.full_like(bias, damage)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CorruptFileError, match=said) as refused:
        load(folder).trace(PROMPT)
    assert "e_score_correction_bias" in str(refused.value)


@pytest.mark.parametrize("indexed_first", [True, False])
def test_a_tensor_in_two_shards_is_taken_from_where_the_index_says(load, saved, indexed_first):
    folder, hf_model = saved(tie_word_embeddings=False)
    held, stale = load_file(folder / "model.safetensors"), "model.layers.0.mlp.down_proj.weight"
    (folder / "model.safetensors").unlink()
    shards = [{n: v for n, v in held.items() if n == stale}, {n: v for n, v in held.items() if n != stale}]
    shards[1][stale] = torch.randn_like(held[stale])
    files = [f"model-0000{k}-of-00002.safetensors" for k in ((1, 2) if indexed_first else (2, 1))]
    for file, shard in zip(files, shards, strict=True):
        save_file(shard, folder / file, metadata={"format": "pt"})
    where = {name: files[0] if name == stale else files[1] for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    model = load(folder)
    trace = model.trace(PROMPT)
    ids = torch.tensor([[token.id for token in trace.tokens]])
    with torch.no_grad():
        expected = hf_model(input_ids=ids).logits[0, -1].log_softmax(-1)[torch.tensor(trace.top_ids[-1, -1])]
    np.testing.assert_allclose(trace.top_logprobs[-1, -1], expected, atol=1e-4)
    assert model.info.parameters == sum(p.numel() for p in hf_model.parameters())


def test_an_adapter_beside_the_weights_is_refused(load, saved):
    folder, _ = saved()
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "org/base"}))
    load(folder)  # left over from a merge
    save_file({"lora": torch.ones(1)}, folder / "adapter_model.safetensors")
    with pytest.raises(UnsupportedModelError, match=r"adapter of org/base.*merge_and_unload\(\).*or remove adapter_"):
        load(folder)
