"""Models in memory as scripts have them: between training steps, in inference mode, spread by accelerate."""

import contextlib
import copy

import accelerate
import numpy as np
import pytest
import torch
from torch.nn.utils import prune

import layerwise as lw
from layerwise.errors import ModelError, UnsupportedModelError

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


@pytest.fixture
def default_dtype():
    """Sets PyTorch's default precision, and sets it back."""
    before = torch.get_default_dtype()
    yield torch.set_default_dtype
    torch.set_default_dtype(before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loaded_there", [True, False])
def test_the_default_precision_changes_no_number(fresh_parts, default_dtype, dtype, loaded_there):
    """In float16, norms of states and what was unpacked from GGUF would come out rounded, without a word."""
    hf_model, hf_tokenizer = fresh_parts("gemma2")
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    expected = model.trace(PROMPT, positions="all", generate=2)
    default_dtype(dtype)
    model = lw.load(hf_model, tokenizer=hf_tokenizer) if loaded_there else model
    trace = model.trace(PROMPT, positions="all", generate=2)
    assert torch.get_default_dtype() == dtype
    for measure in ("top_logprobs", "residual_norm", "cosine_to_final", "entropy_bits"):
        np.testing.assert_array_equal(getattr(trace, measure), getattr(expected, measure))


def test_autocast_is_refused_with_the_way_out(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    for read in (lambda: lw.load(hf_model, tokenizer=hf_tokenizer), lambda: model.trace(PROMPT)):
        with (
            torch.autocast("cpu", dtype=torch.bfloat16),
            pytest.raises(ModelError, match=r"autocast is on.*outside.*bfloat16"),
        ):
            read()


class HeadIn(torch.nn.Linear):
    """A head that computes in the precision of its own weights, whatever the blocks have."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.to(self.weight.dtype))


@pytest.mark.parametrize("blocks", [torch.float32, torch.bfloat16])
def test_a_head_in_another_precision_than_the_blocks_is_read(fresh_parts, blocks):
    """Keeping the head in float32 is common in training; the precision that is stated is the coarser of the two."""
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    hf_model.to(blocks)
    head = HeadIn(64, 530, bias=False, dtype=torch.float32 if blocks == torch.bfloat16 else torch.bfloat16)
    head.load_state_dict(hf_model.lm_head.state_dict())
    hf_model.lm_head = head
    trace = lw.load(hf_model, tokenizer=hf_tokenizer).trace(PROMPT)
    assert trace.model.dtype == "bfloat16"
    assert trace.checks.drift_variation is not None
    with torch.no_grad():
        logits = hf_model(input_ids=torch.tensor([[token.id for token in trace.tokens]])).logits[0, -1]
    expected = logits.float().log_softmax(-1)[torch.tensor(trace.top_ids[-1, -1])]
    np.testing.assert_allclose(trace.top_logprobs[-1, -1], expected, atol=0.1)


def test_blocks_that_were_compiled_in_place_are_read(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    expected = lw.load(hf_model, tokenizer=hf_tokenizer).trace(PROMPT)
    for block in hf_model.model.layers:
        block.compile(backend="eager")
    compiled = [block._compiled_call_impl for block in hf_model.model.layers]
    trace = lw.load(hf_model, tokenizer=hf_tokenizer).trace(PROMPT)
    np.testing.assert_allclose(trace.top_logprobs, expected.top_logprobs, atol=1e-5)
    assert [block._compiled_call_impl for block in hf_model.model.layers] == compiled


def test_a_final_norm_that_was_pruned_is_read_in_half_precision(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    hf_model.bfloat16()
    prune.l1_unstructured(hf_model.model.norm, "weight", 0.5)
    trace = lw.load(hf_model, tokenizer=hf_tokenizer).trace(PROMPT)
    assert trace.checks.identity_error <= trace.checks.identity_limit


def test_a_replaced_forward_that_has_no_float32_copy_is_named(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    hf_model.bfloat16()
    block = hf_model.model.layers[1]
    forward = block.forward
    block.forward = lambda *args, **kwargs: 2 * forward(*args, **kwargs)
    with pytest.raises(UnsupportedModelError, match=r"block 1 has no float32 copy.*model\.float\(\)"):
        lw.load(hf_model, tokenizer=hf_tokenizer).trace(PROMPT)
    assert lw.load(hf_model.float(), tokenizer=hf_tokenizer).trace(PROMPT)


def test_a_forward_that_fails_on_its_precisions_is_named(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    hf_model.model.layers[1:].bfloat16()
    with pytest.raises(UnsupportedModelError, match=r"its own forward fails on \d tokens \(RuntimeError: .*dtype"):
        lw.load(hf_model, tokenizer=hf_tokenizer).trace(PROMPT)


@pytest.mark.parametrize("copied", [True, False])
def test_blocks_in_one_place_of_the_cache_are_refused(fresh_parts, copied):
    """With its cache, which is transformers' default, such a model computes something else than without."""
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    first = hf_model.model.layers[0]
    hf_model.model.layers[2] = copy.deepcopy(first) if copied else first
    ids = torch.tensor([hf_tokenizer(PROMPT)["input_ids"]])
    with torch.no_grad():
        logits = [hf_model(input_ids=ids, use_cache=cached).logits for cached in (True, False)]
    assert (logits[0] - logits[1]).abs().max() > 0.1
    with pytest.raises(UnsupportedModelError, match=r"two of its blocks.*one place of the cache \(layer_idx 0\)"):
        lw.load(hf_model, tokenizer=hf_tokenizer)


def test_beginnings_are_not_shared_where_a_block_was_taken_out(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    del hf_model.model.layers[1]
    hf_model.config.num_hidden_layers, hf_model.config.layer_types = 3, hf_model.config.layer_types[:3]
    beginning = list(range(20, 60))
    model = lw.load(hf_model, tokenizer=hf_tokenizer)
    traces = model.trace_all([lw.Request([*beginning, last]) for last in (61, 62, 63)])
    for [trace] in traces:
        with torch.no_grad():
            ids = torch.tensor([[token.id for token in trace.tokens]])
            expected = hf_model(input_ids=ids, use_cache=False).logits[0, -1].log_softmax(-1)
        np.testing.assert_allclose(trace.top_logprobs[-1, -1], expected[torch.tensor(trace.top_ids[-1, -1])], atol=1e-4)


def at_the_first_token(_module, _args, output):
    return torch.cat([output[:, :1] + 3, output[:, 1:]], dim=1)


def at_one_place(_module, _args, output):
    output = output.clone()
    output[:, 5:6] = 2 * output[:, 5:6]
    return output


def not_of_single_tokens(_module, _args, output):
    return 2 * output if output.shape[1] > 1 else output


def of_several_at_once(_module, _args, output):
    return 2 * output if output.shape[0] > 1 else output


def as_a_hook(block, change):
    block.register_forward_hook(change)


def as_a_forward(block, change):
    forward = block.forward
    block.forward = lambda *args, **kwargs: change(block, args, forward(*args, **kwargs))


@pytest.mark.parametrize("put", [as_a_hook, as_a_forward])
@pytest.mark.parametrize("change", [at_the_first_token, at_one_place, not_of_single_tokens, of_several_at_once])
def test_what_goes_by_a_place_finds_the_token_there(fresh_parts, change, put):
    """As steering and activation patching do: where texts share their beginning, its parts would begin elsewhere."""
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    put(hf_model.model.layers[1], change)
    beginning = list(range(20, 61))
    prompts = [[*beginning, *rest] for rest in ((70,), (71, 72), (73, 74), (75,), (76, 77, 78))]
    traces = lw.load(hf_model, tokenizer=hf_tokenizer).trace_all([lw.Request(ids) for ids in prompts])
    for ids, [trace] in zip(prompts, traces, strict=True):
        with torch.no_grad():
            expected = hf_model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].log_softmax(-1)
        np.testing.assert_allclose(trace.top_logprobs[-1, -1], expected[torch.tensor(trace.top_ids[-1, -1])], atol=1e-4)
