import math

import numpy as np
import pytest
import torch
import transformers

import layerwise as lw
from benchmarks.tiny import always_streamed, tiny_config, tiny_model
from layerwise.capture.loop import drive
from layerwise.errors import UnsupportedModelError
from layerwise.tracing.causality_check import Lookahead

PROMPT = "The capital of Germany is"


@pytest.fixture
def bidirectional(tmp_path, toy_tokenizer):
    """A checkpoint of a model whose settings let it look ahead, as EmbeddingGemma's do; and the model."""
    hf_model = tiny_model(tiny_config(transformers.Gemma3TextConfig, use_bidirectional_attention=True))
    hf_tokenizer = toy_tokenizer(sentencepiece=True, bos=True)
    hf_model.save_pretrained(tmp_path)
    hf_tokenizer.save_pretrained(tmp_path)
    return tmp_path, hf_model, hf_tokenizer


def refused():
    return pytest.raises(UnsupportedModelError, match=r"not causal.*use_bidirectional_attention=True")


@pytest.mark.parametrize("prompt", [PROMPT, "P"])
def test_a_model_that_looks_ahead_is_refused_in_every_way_of_loading(bidirectional, prompt):
    folder, hf_model, hf_tokenizer = bidirectional
    with refused():
        lw.load(hf_model, tokenizer=hf_tokenizer).trace(prompt)
    with refused():
        lw.load(folder, device="cpu").trace(prompt)
    with refused():
        lw.load(folder, device="cpu", dtype="bfloat16").trace(prompt)
    with refused():
        lw.load(f"random:{folder}", device="cpu").trace(prompt)
    with always_streamed(), refused():
        lw.load(folder, device="cpu").trace(prompt)


def test_it_is_refused_before_any_of_several_prompts_is_handed_out(bidirectional):
    folder, _, _ = bidirectional
    model = lw.load(folder, device="cpu")
    for _ in range(2):
        with refused():
            model.trace_all([lw.Request(PROMPT), lw.Request("The capital of Spain is")], check_length_groups=True)


def test_a_model_that_mixes_positions_otherwise_is_refused(fresh):
    model = fresh()
    model._loaded.parts.blocks[2].mlp.register_forward_hook(lambda _m, _a, out: out + 0.1 * out.mean(1, keepdim=True))
    with pytest.raises(UnsupportedModelError, match="not causal"):
        model.trace(PROMPT)


@pytest.mark.parametrize("block", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("count", [2, 4, 8, 16, 32])
def test_a_model_that_looks_ahead_in_blocks_is_refused_whatever_the_prompts_length(fresh, block, count):
    """As models that fill in one block after another (block diffusion): a token sees the others of its block."""
    model = fresh()
    backbone = model._loaded.parts.backbone
    plain = backbone.forward

    def forward(input_ids, **kwargs):
        place = torch.arange(input_ids.shape[1]) // block
        seen = torch.where(place[:, None] >= place, 0.0, -torch.inf)[None, None]
        return plain(input_ids=input_ids, **kwargs | {"attention_mask": {"full_attention": seen}})

    backbone.forward = forward
    with pytest.raises(UnsupportedModelError, match="not causal"):
        model.trace(list(range(20, 20 + count)))


def test_a_model_that_depends_on_the_texts_length_is_refused(fresh):
    model = fresh()
    model._loaded.parts.blocks[2].mlp.register_forward_hook(lambda _m, _a, out: out * (1 + 0.1 * out.shape[1]))
    with pytest.raises(UnsupportedModelError, match=r"not causal.*depend on the text's length"):
        model.trace(PROMPT)


@pytest.mark.parametrize("count", [1, 2, 7, 128])
def test_causal_models_differ_by_no_more_than_rounding(family, count):
    loaded = family._loaded
    ahead = Lookahead(loaded, tuple(np.random.default_rng(0).integers(5, 500, count).tolist()))
    drive(loaded, [ahead.sweep])
    assert ahead.worst < 2e-5  # 3e-6 measured; 1e-3 is let through


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_stays_within_its_limit(family_folder, dtype):
    loaded = lw.load(family_folder("qwen3"), device="cpu", dtype=dtype)._loaded
    ahead = Lookahead(loaded, tuple(range(20, 40)))
    drive(loaded, [ahead.sweep])
    assert ahead.worst < {"bfloat16": 0.15, "float16": 0.03}[dtype] / 3


def test_a_streamed_model_is_read_once_for_it(bidirectional, family_folder):
    with always_streamed():
        model = lw.load(family_folder("qwen3"), device="cpu")
    model.trace(PROMPT)
    first = model.bytes_read
    model.trace(PROMPT)
    head = math.prod(model._loaded.output_head.weight.shape) * 4  # which loading keeps
    assert first - head <= model.bytes_read - first + 20_000, "no block was read once more than by later sweeps"


def test_both_lengths_are_read_with_the_same_rotary_frequencies(fresh):
    """Dynamic scaling changes every frequency from the original length on: no sign of looking ahead."""
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 8}
    model = fresh("llama3", rope_parameters=rope, max_position_embeddings=8)
    text = "The capital of"
    assert torch.isfinite(torch.tensor(model.trace(text).entropy_bits)).all()
