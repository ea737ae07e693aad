"""Models in memory as scripts have them: between training steps, in inference mode, spread by accelerate."""

import contextlib

import accelerate
import numpy as np
import pytest
import torch

import layerwise as lw
from layerwise.errors import ModelError

PROMPT = "The capital of Germany is"


def in_training(hf_model):
    hf_model.train()


def with_input_gradients(hf_model):
    hf_model.enable_input_require_grads()


def checkpointing(hf_model):
    hf_model.activation_checkpointing_enable()


def checkpointing_in_training(hf_model):
    hf_model.activation_checkpointing_enable()
    hf_model.train()


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("prepare", [in_training, with_input_gradients, checkpointing, checkpointing_in_training])
def test_a_model_between_training_steps_is_read_and_left_as_it_was(fresh_parts, prepare, mode):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    expected = lw.load(hf_model, tokenizer=hf_tokenizer).trace(PROMPT, positions="all", generate=2)
    prepare(hf_model)
    before = [(module.training, len(module._forward_hooks)) for module in hf_model.modules()]
    with mode():
        trace = lw.load(hf_model, tokenizer=hf_tokenizer).trace(PROMPT, positions="all", generate=2)
    np.testing.assert_array_equal(trace.top_logprobs, expected.top_logprobs)
    assert [(module.training, len(module._forward_hooks)) for module in hf_model.modules()] == before
    assert all(parameter.requires_grad for parameter in hf_model.parameters())
    loss = hf_model(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss
    loss.backward()
    assert hf_model.lm_head.weight.grad is not None


@pytest.mark.parametrize("loaded_inside", [True, False])
@pytest.mark.parametrize("made_inside", [True, False])
def test_inference_mode_changes_nothing(fresh_parts, made_inside, loaded_inside):
    def where(inside):
        return torch.inference_mode() if inside else contextlib.nullcontext()

    hf_model, hf_tokenizer = fresh_parts("gemma2")
    expected = lw.load(hf_model, tokenizer=hf_tokenizer).trace(PROMPT, positions="all")
    with where(made_inside):
        made, _ = fresh_parts("gemma2")
    with where(loaded_inside):
        model = lw.load(made, tokenizer=hf_tokenizer)
    for inside in (True, False, True):
        with where(inside):
            np.testing.assert_array_equal(model.trace(PROMPT, positions="all").top_logprobs, expected.top_logprobs)
    with torch.inference_mode():
        made.model.norm.weight.mul_(2)
        assert model.trace(PROMPT).output != expected.output, "such weights have no versions, and are looked at"


def test_a_folder_loaded_in_inference_mode_is_read_outside_of_it(family_folder):
    expected = lw.load(family_folder("qwen3"), device="cpu").trace(PROMPT)
    with torch.inference_mode():
        model = lw.load(family_folder("qwen3"), device="cpu")
    assert not any(parameter.is_inference() for parameter in model._loaded.hf.parameters())
    assert model.trace(PROMPT).output == expected.output


@pytest.mark.parametrize("spread", [accelerate.cpu_offload, accelerate.disk_offload])
def test_weights_that_accelerate_keeps_elsewhere_are_refused_with_the_way_out(fresh_parts, spread, tmp_path):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    where = {"offload_dir": str(tmp_path)} if spread is accelerate.disk_offload else {}
    spread(hf_model, execution_device=torch.device("cpu"), **where)
    for read in (lambda: lw.load(hf_model, tokenizer=hf_tokenizer), lambda: model.trace(PROMPT)):
        with pytest.raises(ModelError, match=r"not in memory \(.*accelerate.*memory=…"):
            read()
