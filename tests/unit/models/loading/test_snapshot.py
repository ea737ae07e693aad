"""A model in memory that is changed between two traces is read as it is then."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import layerwise as lw
from layerwise.errors import CheckError, UnsupportedModelError

PROMPT = "The capital of Germany is"


class Adapted(nn.Module):
    """A linear map with a low-rank change beside it, laid out as adapters' layers are."""

    def __init__(self, base: nn.Linear):
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base.in_features, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, base.out_features, bias=False)})
        self.disabled = False

    @property
    def weight(self) -> torch.Tensor:
        return self.base_layer.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.base_layer(x)
        return y if self.disabled else y + self.lora_B["default"](self.lora_A["default"](x))


def new_head(hf_model: Any) -> None:
    hf_model.lm_head = nn.Linear(64, 530, bias=False)


def head_with_bias(hf_model: Any) -> None:
    hf_model.lm_head = nn.Linear(64, 530)


def assigned_data(hf_model: Any) -> None:
    hf_model.lm_head.weight.data = torch.randn(530, 64)


def written_data(hf_model: Any) -> None:
    hf_model.lm_head.weight.data.mul_(1.5)


def new_norm(hf_model: Any) -> None:
    hf_model.model.norm = nn.RMSNorm(64)


def new_block(hf_model: Any) -> None:
    hf_model.model.layers[1] = copy.deepcopy(hf_model.model.layers[2])
    hf_model.model.layers[1].self_attn.layer_idx = 1


def fewer_blocks(hf_model: Any) -> None:
    del hf_model.model.layers[3]
    hf_model.config.num_hidden_layers = 3


def adapter_in_a_block(hf_model: Any) -> None:
    hf_model.model.layers[1].self_attn.q_proj = Adapted(hf_model.model.layers[1].self_attn.q_proj)


def hook_in_a_block(hf_model: Any) -> None:
    hf_model.model.layers[1].mlp.register_forward_hook(lambda _module, _args, output: 2 * output)


def scaled_by_a_hook(hf_model: Any) -> None:
    hf_model.lm_head.register_forward_hook(lambda _module, _args, output: 0.5 * output)


def wrapped_forward(hf_model: Any) -> None:
    forward = hf_model.forward

    def capped(*args: Any, **kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        output.logits = 5 * torch.tanh(output.logits / 5)
        return output

    hf_model.forward = capped


def expect_as_now(model: lw.Model, hf_model: Any) -> lw.Trace:
    """Trace, and compare the output with what transformers gives by itself now."""
    trace = model.trace(PROMPT, positions="all")
    with torch.no_grad():
        logits = hf_model(input_ids=torch.tensor([[token.id for token in trace.tokens]])).logits[0]
    expected = logits.float().log_softmax(-1).gather(-1, torch.tensor(trace.top_ids[-1]))
    np.testing.assert_allclose(trace.top_logprobs[-1], expected, atol=1e-4)
    return trace


@pytest.mark.parametrize(
    "change",
    [
        new_head,
        head_with_bias,
        assigned_data,
        written_data,
        new_norm,
        new_block,
        fewer_blocks,
        adapter_in_a_block,
        hook_in_a_block,
        scaled_by_a_hook,
        wrapped_forward,
    ],
)
@torch.no_grad()
def test_a_change_is_seen(fresh_parts, change):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    before = model.trace(PROMPT, positions="all")
    change(hf_model)
    after = expect_as_now(model, hf_model)
    assert np.abs(after.entropy_bits[-1] - before.entropy_bits[-1]).max() > 1e-3, "or nothing was changed"
    assert after.checks.output_from == "own forward"


def one_column_of_data(hf_model: Any) -> None:
    hf_model.model.layers[1].mlp.down_proj.weight.data[:, 7] *= 9


def slower_rotation(hf_model: Any) -> None:
    hf_model.model.rotary_emb.inv_freq.mul_(0.5)


@pytest.mark.parametrize("change", [one_column_of_data, slower_rotation])
@torch.no_grad()
def test_a_change_that_only_the_numbers_show_is_in_the_output_too(fresh_parts, change):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    before = model.trace(PROMPT)
    change(hf_model)
    after = expect_as_now(model, hf_model)
    assert after.output[0].logprob == pytest.approx(float(after.top_logprobs[-1, -1, 0]), abs=1e-4)
    assert abs(after.output[0].logprob - before.output[0].logprob) > 1e-2, "or nothing was changed"


def test_the_sum_that_a_run_goes_by_is_computed_anew(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    before = model.identified().weights_sum
    one_column_of_data(hf_model)
    assert model.identified().weights_sum != before


@torch.no_grad()
def test_an_adapter_that_is_switched_off_is_seen(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    adapter_in_a_block(hf_model)
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    with_it = expect_as_now(model, hf_model)
    hf_model.model.layers[1].self_attn.q_proj.disabled = True
    without = expect_as_now(model, hf_model)
    assert with_it.output != without.output
    assert without.checks.output_from == "own forward"


def test_a_resized_vocabulary_is_seen(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    model.trace(PROMPT)
    hf_model.resize_token_embeddings(544, mean_resizing=False)
    assert expect_as_now(model, hf_model).model.vocab_size == 544


@torch.no_grad()
def test_another_precision_is_seen(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    model.trace(PROMPT)
    hf_model.bfloat16()
    trace = model.trace(PROMPT)
    assert trace.model.dtype == "bfloat16"
    hf_model.model.norm.weight.mul_(3)  # of which the lens has a copy in float32
    again = model.trace(PROMPT)
    assert again.checks.identity_error <= again.checks.identity_limit
    assert again.entropy_bits[-1, 0] < trace.entropy_bits[-1, 0]


@torch.no_grad()
def test_the_weights_sum_follows_the_weights(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    before = model.info.weights_sum
    hf_model.model.layers[0].mlp.up_proj.weight.mul_(1.01)
    assert model.info.weights_sum != before


def test_weights_of_a_checkpoint_that_were_changed_are_not_its_own(family_folder):
    model = lw.load(family_folder("qwen3"), device="cpu")
    assert model.info.source == "folder"
    with torch.no_grad():
        model._loaded.hf.model.norm.weight.mul_(2)
    changed = model.trace(PROMPT).model
    assert changed.source == "memory"


def test_an_unchanged_model_is_taken_apart_once(fresh):
    model = fresh()
    loaded = model._loaded
    for prompt in (PROMPT, "Paris is"):
        model.trace(prompt, generate=2)
        assert model._loaded is loaded


def test_an_adapter_on_the_head_is_refused_with_the_way_out(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    hf_model.lm_head = Adapted(hf_model.lm_head)
    for read in (lambda: model.trace(PROMPT), lambda: lw.load(hf_model, tokenizer=hf_tokenizer)):
        with pytest.raises(UnsupportedModelError, match=r"head holds more than a matrix.*merge_and_unload\(\)"):
            read()


def test_a_state_changed_before_the_norm_is_refused(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    model.trace(PROMPT)
    hf_model.model.norm.register_forward_pre_hook(lambda _module, args: (args[0] + 1,))
    with pytest.raises(CheckError, match="state at layer 4"):
        model.trace(PROMPT)
