"""What a GGUF file says is in the model that is made of it, or the file is refused with what was not understood."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf as gguf_format
import numpy as np
import pytest
import torch

import layerwise as lw
from benchmarks.tiny_gguf import D_MODEL, FFN, KV_HEADS, llama_tensors, write_gguf
from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models.gguf.description import describe
from layerwise.models.gguf.gguf_files import open_gguf
from layerwise.models.gguf.hub_folder import configuration_of
from layerwise.models.gguf.rotary import share
from layerwise.models.machine import device

Write = Callable[..., Path]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a tiny Llama with more keys (as in ``rope__scaling__factor=2.0``) and more tensors."""

    def build(architecture: str = "llama", tensors: dict[str, Any] | None = None, **keys: Any) -> Path:
        def more(writer: gguf_format.GGUFWriter) -> None:
            for key, value in keys.items():
                name = key.replace("__", ".")
                name = name.removeprefix("ROOT.") if name.startswith("ROOT.") else f"{architecture}.{name}"
                _add(writer, name, value)

        return write_gguf(tmp_path / "tiny.gguf", architecture, llama_tensors() | (tensors or {}), more)

    return build


def _add(writer: gguf_format.GGUFWriter, name: str, value: Any) -> None:
    kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    kinds.get(type(value), writer.add_array)(name, value)


def settings(path: Path) -> dict[str, Any]:
    return describe(open_gguf(path)).settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention__scale", 0.5),
        ("logit_scale", 0.25),
        ("residual_scale", 2.0),
        ("attention__clamp_kqv", 8.0),
        ("attention__sliding_window_pattern", [True]),
        ("some_day__invented", "yes"),
        ("attention__causal", False),
        ("pooling_type", 1),
        ("attn_logit_softcapping", 50.0),
    ],
)
def test_a_key_that_is_not_understood_is_refused_by_name(write: Write, key: str, value: Any):
    with pytest.raises(
        UnsupportedModelError, match=rf"tiny\.gguf says llama\.{key.replace('__', r'.')} is .*safetensors"
    ):
        describe(open_gguf(write(**{key: value})))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention__scale", 0.0),
        ("logit_scale", 1.0),
        ("expert_count", 0),
        ("attention__causal", True),
        ("pooling_type", 0),
        ("rope__scaling__finetuned", True),
        ("vocab_size", 259),
        ("ROOT__general__license", "mit"),
        ("ROOT__quantize__imatrix__file", "a.dat"),
        ("ROOT__somebody__note", "hello"),
    ],
)
def test_a_key_that_changes_nothing_is_let_through(write: Write, key: str, value: Any):
    assert settings(write(**{key: value})) == settings(write())


def test_a_tensor_that_is_not_understood_is_refused_by_name(write: Write):
    scale = {"blk.0.attn_q.scale": np.ones(1, dtype=np.float32)}
    with pytest.raises(UnsupportedModelError, match=r"has a tensor that is not understood, blk\.0\.attn_q\.scale"):
        describe(open_gguf(write(tensors=scale)))


def test_two_tensors_for_the_same_weights_are_refused(tmp_path: Path):
    tensors = llama_tensors()
    del tensors["blk.0.ffn_gate.weight"]
    tensors["blk.0.attn_qkv.weight"] = np.ones((D_MODEL + 2 * (D_MODEL // 2 * KV_HEADS), D_MODEL), dtype=np.float32)
    with pytest.raises(CorruptFileError, match=r"has both blk\.0\.attn_q\.weight and blk\.0\.attn_qkv\.weight"):
        describe(open_gguf(write_gguf(tmp_path / "doubled.gguf", "phi3", tensors)))


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64"])
def test_weights_of_whole_numbers_are_refused(write: Write, kind: str):
    with pytest.raises(UnsupportedModelError, match=rf"whole numbers \({kind}\)"):
        lw.load(write(tensors={"output_norm.weight": np.ones(D_MODEL, dtype=kind)}), device="cpu")


def test_heads_that_the_weights_cannot_be_divided_among_are_refused(write: Write):
    with pytest.raises(CorruptFileError, match=r"The shape of blk\.0\.attn_k\.weight .* doesn't fit"):
        lw.load(write(attention__head_count_kv=3), device="cpu")


@pytest.mark.parametrize("way", ["resident", "streamed"])
@pytest.mark.parametrize("name", ["output_norm.bias", "blk.0.attn_norm.bias", "output.bias"])
def test_a_bias_that_the_class_has_no_place_for_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, way: str
):
    if way == "streamed":
        monkeypatch.setattr(device, "placement_in_memory", lambda *_: None)
    with pytest.raises(UnsupportedModelError, match=rf"has {name}, and LlamaForCausalLM, .* has no .*bias to take it"):
        lw.load(write(tensors={name: np.ones(D_MODEL, dtype=np.float32)}), device="cpu")


def test_biases_of_some_projections_only_are_refused_rather_than_made_up(write: Write):
    with pytest.raises(CorruptFileError, match=r"3 weights that LlamaForCausalLM needs .*k_proj\.bias"):
        lw.load(write(tensors={"blk.0.attn_q.bias": np.ones(D_MODEL, dtype=np.float32)}), device="cpu")


def test_files_that_hold_no_model_are_refused(write: Write):
    with pytest.raises(UnsupportedModelError, match=r"its general\.type is 'adapter'"):
        describe(open_gguf(write(ROOT__general__type="adapter")))


def test_biases_are_put_where_their_weights_are(write: Write):
    size = D_MODEL // 2 * KV_HEADS
    shapes = {"attn_q": D_MODEL, "attn_k": size, "attn_v": size, "attn_output": D_MODEL}
    shapes |= {"ffn_gate": FFN, "ffn_up": FFN, "ffn_down": D_MODEL}
    biases = {f"blk.0.{name}.bias": np.arange(shape, dtype=np.float32) for name, shape in shapes.items()}
    block = lw.load(write(tensors=biases), device="cpu")._loaded.hf.model.layers[0]
    assert block.mlp.gate_proj.bias.tolist() == list(range(FFN))
    # Pairs of neighbouring rows in the file are halves of a head in the model.
    assert block.self_attn.q_proj.bias.tolist() == [0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15]
    assert block.self_attn.v_proj.bias.tolist() == list(range(size))


@pytest.mark.parametrize(
    "keys",
    [
        {"rope__scaling__type": "linear", "rope__scaling__factor": 4.0},
        {"rope__scaling__factor": 4.0},
        {"rope__scale_linear": 4.0},
        {"rope__scaling__factor": 4.0, "rope__scale_linear": 2.0},
    ],
)
def test_a_factor_without_its_kind_or_under_the_older_key_is_linear(write: Write, keys: dict[str, Any]):
    rope = settings(write(**keys))["rope_parameters"]
    assert (rope["rope_type"], rope["factor"]) == ("linear", 4.0)


def test_a_factor_of_no_kind_is_not_used(write: Write):
    keys: dict[str, Any] = {"rope__scaling__type": "none", "rope__scaling__factor": 4.0}
    assert settings(write(**keys))["rope_parameters"]["rope_type"] == "default"


def test_heads_that_are_turned_in_part_are_refused_where_the_class_turns_the_whole(write: Write):
    """Its class in transformers takes the setting and does nothing with it."""
    with pytest.raises(UnsupportedModelError, match="turns 4 numbers of heads of 8"):
        describe(open_gguf(write(rope__dimension_count=4)))


@pytest.mark.parametrize("size", range(2, 514, 2))
def test_a_share_of_a_head_comes_back_as_the_same_number(size: int):
    assert all(int(size * share(turned, size)) == turned for turned in range(2, size + 1, 2))


def test_factors_of_each_frequency_divide_them(write: Write):
    half = D_MODEL // 2 // 2
    factors = torch.arange(1, half + 1, dtype=torch.float32)
    stretched = write(tensors={"rope_freqs.weight": factors.numpy()}, rope__scaling__factor=2.0)
    rotary = lw.load(stretched, device="cpu")._loaded.hf.model.rotary_emb
    plain = 10_000.0 ** -(torch.arange(half) / half)
    assert torch.allclose(rotary.inv_freq, plain / (2 * factors))
    rotary(torch.zeros(1), torch.arange(9000)[None])  # whatever the length
    assert torch.allclose(rotary.inv_freq, plain / (2 * factors))


def test_the_same_settings_with_other_factors_are_prepared_anew(write: Write):
    half = D_MODEL // 2 // 2
    for factor in (1.0, 3.0):
        path = write(tensors={"rope_freqs.weight": np.full(half, factor, dtype=np.float32)})
        config = lw.load(path, device="cpu")._loaded.hf.config
        assert config.rope_parameters["long_factor"] == [factor] * half


def test_factors_of_another_number_are_refused(write: Write):
    with pytest.raises(UnsupportedModelError, match=r"7 factors in rope_freqs\.weight for 4 frequencies"):
        describe(open_gguf(write(tensors={"rope_freqs.weight": np.ones(7, dtype=np.float32)})))


def test_settings_that_differ_between_blocks_are_refused_where_the_class_has_one(write: Write):
    with pytest.raises(UnsupportedModelError, match=r"different values of llama\.feed_forward_length \(32, 64"):
        describe(open_gguf(write(feed_forward_length=[FFN, 2 * FFN])))
    assert settings(write(feed_forward_length=[FFN]))["intermediate_size"] == FFN


@pytest.mark.parametrize(("key", "value"), [("block_count", "1"), ("rope__freq_base", "high"), ("block_count", [1])])
def test_values_of_another_kind_are_refused_with_the_key(write: Write, key: str, value: Any):
    with pytest.raises(CorruptFileError, match=rf"says llama\.{key.replace('__', r'.')} is .*; expected a"):
        describe(open_gguf(write(**{key: value})))


def test_what_no_model_can_do_without_is_named(tmp_path: Path):
    def drop(writer: gguf_format.GGUFWriter) -> None:
        del writer.kv_data[0]["llama.attention.layer_norm_rms_epsilon"]

    path = write_gguf(tmp_path / "lacking.gguf", more=drop)
    with pytest.raises(CorruptFileError, match=r"does not say llama\.attention\.layer_norm_rms_epsilon"):
        describe(open_gguf(path))


def test_the_stored_configuration_does_not_lean_on_defaults(write: Write, tmp_path: Path):
    """Or another transformers, whose class has other ones, would read another model."""
    configuration_of(describe(open_gguf(write()))).to_json_file(tmp_path / "config.json", use_diff=False)
    assert '"hidden_act": "silu"' in (tmp_path / "config.json").read_text()
    assert '"mlp_bias": false' in (tmp_path / "config.json").read_text()
