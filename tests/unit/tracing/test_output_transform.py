import dataclasses

import numpy as np
import pytest
import torch
import transformers

import layerwise as lw
from benchmarks.tiny import always_streamed, save, tiny_config, tiny_model
from layerwise.errors import UnsupportedModelError
from layerwise.models.output_head.output_head import OutputTransform
from layerwise.tracing.output_transform import measured

PROMPT = "The capital of Germany is"


def behind_the_head(hf_model, change):
    """Let a model's own forward change its logits, under no name that any setting has."""
    forward = hf_model.forward

    def changed(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = change(output.logits)
        return output

    hf_model.forward = changed
    return hf_model


@pytest.mark.parametrize("family", ["qwen3", "llama3", "mistral", "gemma2"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_settings_transform_is_kept_where_it_is_right(family, dtype, family_folder):
    cap = 10.0 if family == "gemma2" else None
    assert lw.load(family_folder(family), device="cpu", dtype=dtype)._loaded.output_head.transform == OutputTransform(
        1.0, cap
    )
    with always_streamed():
        fed = lw.load(family_folder(family), device="cpu", dtype=dtype)
    assert fed._loaded.output_head.transform == OutputTransform(1.0, cap)


@pytest.mark.parametrize(
    ("change", "scale", "cap"),
    [
        (lambda z: 0.0625 * z, 0.0625, None),
        (lambda z: z / 3 + 7, 1 / 3, None),  # a shift changes no probability
        (lambda z: 30 * torch.tanh(z / 30), 1.0, 30.0),
        (lambda z: 0.5 * 40 * torch.tanh(z / 40), 0.5, 20.0),
        (lambda z: 1000 * torch.tanh(z / 1000), 1.0, 1000.0),
    ],
)
def test_factors_without_a_name_are_measured(change, scale, cap, fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    behind_the_head(hf_model, change)
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    transform = model._loaded.output_head.transform
    assert transform.scale == pytest.approx(scale, rel=1e-4)
    assert transform.softcap == (None if cap is None else pytest.approx(cap, rel=1e-4))
    trace = model.trace(PROMPT, positions="all")
    with torch.no_grad():
        logits = hf_model(input_ids=torch.tensor([[token.id for token in trace.tokens]])).logits[0]
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(trace.top_ids[-1]))
    np.testing.assert_allclose(trace.top_logprobs[-1], expected, atol=2e-4)


@pytest.mark.parametrize(
    "change",
    [
        lambda z: z.clamp(-50, 50),
        lambda z: torch.where(z > 0, z, 0.1 * z),
        lambda z: z + 0.01 * torch.arange(z.shape[-1]),
        lambda z: z * (1 + z.abs() / 1000),
    ],
)
def test_what_is_no_scale_and_no_soft_cap_is_refused(change, fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    behind_the_head(hf_model, change)
    with pytest.raises(UnsupportedModelError, match="after its final norm it does something else"):
        lw.load(hf_model, tokenizer=hf_tokenizer)


def test_fewer_logits_than_the_unembedding_has_rows_are_refused(fresh_parts):
    """As of models that cut off what their vocabulary is padded with."""
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    behind_the_head(hf_model, lambda z: z[..., :520])
    with pytest.raises(UnsupportedModelError, match="gives 530 logits, and its own forward returns 520"):
        lw.load(hf_model, tokenizer=hf_tokenizer)


def test_a_soft_cap_that_small_logits_do_not_reach_is_missed_by_no_prompt(fresh_parts):
    """At this prompt the identity check alone would let a cap of 1000 through."""
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    with torch.no_grad():
        hf_model.lm_head.weight.mul_(0.02)
    behind_the_head(hf_model, lambda z: 1000 * torch.tanh(z / 1000))
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    bare = dataclasses.replace(model._loaded.output_head, transform=OutputTransform())
    lw.Model(dataclasses.replace(model._loaded, output_head=bare)).trace(PROMPT)
    assert model._loaded.output_head.transform.softcap == pytest.approx(1000)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ("CohereConfig", {"logit_scale": 0.25}),
        ("GraniteConfig", {"logits_scaling": 4.0}),
        ("Gemma3TextConfig", {"final_logit_softcapping": 30.0}),
        ("RecurrentGemmaConfig", {"logits_soft_cap": 10.0}),
        ("FalconH1Config", {"lm_head_multiplier": 0.5}),
        ("GPTJConfig", {}),
        ("MambaConfig", {}),
        ("NanoChatConfig", {"final_logit_softcapping": 30.0}),
    ],
)
def test_a_transform_lost_from_the_head_is_found_again(config, settings, tmp_path, toy_tokenizer):
    hf_model = tiny_model(tiny_config(getattr(transformers, config), **settings))
    folder = save(hf_model, toy_tokenizer(sentencepiece=False, bos=False), tmp_path)
    loaded = lw.load(folder, device="cpu")._loaded
    wrong = dataclasses.replace(
        loaded, output_head=dataclasses.replace(loaded.output_head, transform=OutputTransform(3.0, 7.0))
    )
    found, right = measured(wrong).output_head.transform, loaded.output_head.transform
    assert found.scale == pytest.approx(right.scale, rel=1e-4)
    assert found.softcap == (right.softcap and pytest.approx(right.softcap, rel=1e-4))
