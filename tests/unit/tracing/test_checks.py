import dataclasses
import types

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import BaseModelOutputWithPast

import layerwise as lw
from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.sweep import Sweep
from layerwise.errors import CheckError
from layerwise.models.output_head.output_head import OutputTransform
from layerwise.tracing import checks
from layerwise.tracing.checks import Checker
from layerwise.tracing.float32_check import Float32Check, check_device, float32_states
from layerwise.tracing.model import Model
from layerwise.tracing.places import capture_requests
from layerwise.tracing.prepared_request import prepare
from layerwise.tracing.request import Request
from tests.sweeps import states_of

PROMPT = "The capital of Germany is"


def with_head(model: Model, **changes) -> Model:
    head = dataclasses.replace(model._loaded.output_head, **changes)
    return Model(dataclasses.replace(model._loaded, output_head=head))


def last_states(model: Model, ids):
    states = states_of(model._loaded, [ForwardPass(ids, (len(ids) - 1,))])
    return states[0]


def test_every_check_passes_on_every_family(family):
    passed = Model(family._loaded).trace(PROMPT).checks
    # The same kernels on the same shapes: measured 0 on all families.
    assert passed.states_error == 0
    assert passed.identity_error < 1e-5
    assert passed.identity_limit == 1e-3
    assert passed.device_error is None


def test_a_soft_cap_left_out_is_caught(load_family):
    bare = with_head(load_family("gemma2"), transform=OutputTransform())
    with pytest.raises(CheckError, match=r"lens at layer 4 differs from Gemma2ForCausalLM's own output"):
        bare.trace(PROMPT)


def test_a_soft_cap_that_is_not_the_models_is_caught(load_family):
    with pytest.raises(CheckError, match=r"soft-cap"):
        with_head(load_family("gemma2"), transform=OutputTransform(softcap=10.1)).trace(PROMPT)
    with pytest.raises(CheckError):
        with_head(load_family("llama3"), transform=OutputTransform(softcap=30.0)).trace(PROMPT)


def test_a_wrong_scale_is_caught(family):
    transform = dataclasses.replace(family._loaded.output_head.transform, scale=1.01)
    with pytest.raises(CheckError, match=r"own output"):
        with_head(family, transform=transform).trace(PROMPT)


def test_another_norms_gain_is_caught(family):
    """The mistake of folding the next block's norm into the lens: here, the first block's."""
    wrong = family._loaded.parts.blocks[0].input_layernorm
    with pytest.raises(CheckError, match=r"final norm"):
        with_head(family, final_norm=wrong).trace(PROMPT)


def test_no_norm_at_all_is_caught(family):
    with pytest.raises(CheckError):
        with_head(family, final_norm=torch.nn.Identity()).trace(PROMPT)


def test_an_unembedding_with_one_row_changed_is_caught(family):
    weight = family._loaded.output_head.weight.clone()
    weight[17] *= 1.05
    with pytest.raises(CheckError):
        with_head(family, weight=weight).trace(PROMPT)


def test_an_error_that_is_not_a_number_is_no_small_error(tiny):
    weight = tiny._loaded.output_head.weight.clone()
    weight[17, 3] = float("nan")
    with pytest.raises(CheckError, match=r"lens at layer 4 differs .* by nan"):
        with_head(tiny, weight=weight).trace(PROMPT)


def test_no_numbers_come_out_of_a_model_that_failed_once(load_family):
    bare = with_head(load_family("gemma2"), transform=OutputTransform())
    for _ in range(2):
        with pytest.raises(CheckError):
            bare.trace(PROMPT)


def test_a_state_that_is_not_the_models_is_caught_and_its_layer_named(tiny, monkeypatch):
    class Disturbed(Sweep):
        def run_block(self, index, block):
            super().run_block(index, block)
            if index == 1:
                self.states[:, 2] *= 1.001

    monkeypatch.setattr("layerwise.tracing.places.Sweep", Disturbed)
    with pytest.raises(CheckError, match=r"state at layer 2 of Qwen3ForCausalLM.*one chain"):
        Model(tiny._loaded).trace(PROMPT)


@pytest.mark.parametrize("checked_before", [True, False])
def test_an_edited_prompt_is_not_shown_the_unedited_one_s_output(tiny, checked_before):
    """They have the same tokens, and only one of them is what the model's own forward says."""
    model = Model(tiny._loaded)
    clean = Model(tiny._loaded).trace(PROMPT)
    if checked_before:
        model.trace(PROMPT)
    trace = model.trace(PROMPT, edits="noise 'layer 2' deviation=5")
    assert trace.checks.output_from == "layer n"
    assert [each.id for each in trace.output] == trace.top_ids[-1, -1].tolist()
    assert [each.logprob for each in trace.output] == pytest.approx(trace.top_logprobs[-1, -1].tolist(), abs=1e-5)
    assert clean.output[0].logprob != pytest.approx(trace.output[0].logprob, abs=1e-3)
    assert np.allclose(trace.residual_norm[:2], clean.residual_norm[:2], rtol=1e-4)
    assert not np.allclose(trace.residual_norm[2:], clean.residual_norm[2:], rtol=1e-2)
    assert trace.checks.identity_error == pytest.approx(clean.checks.identity_error, abs=1e-4)


def test_blocks_that_do_not_form_one_chain_are_caught(fresh):
    """A decoder that hands its embeddings past each block, as some newer architectures do."""
    model = fresh()

    def forward(self, input_ids, **_):
        hidden = first = self.embed_tokens(input_ids)
        places = torch.arange(input_ids.shape[1])[None]
        rotary = self.rotary_emb(hidden, places)
        for block in self.layers:
            hidden = block(hidden, attention_mask=None, position_embeddings=rotary) + 0.1 * first
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden))

    backbone = model._loaded.parts.backbone
    backbone.forward = types.MethodType(forward, backbone)
    with pytest.raises(CheckError, match=r"state at layer 1 .*one chain"):
        model.trace(PROMPT)


def test_one_prompts_check_covers_later_ones_and_says_so(fresh):
    model = fresh()
    first, second = model.trace(PROMPT), model.trace("Paris is")
    assert first.checks.covered_by == second.checks.covered_by == PROMPT
    assert first.checks.output_from == "own forward"
    assert second.checks.output_from == "layer n"
    again = model.trace(PROMPT)
    assert again == first


def test_a_check_for_each_length_group_is_run_when_asked(fresh):
    model = fresh()
    prompts = ["The city", "The capital", "The capital of", PROMPT]
    traces = model.trace_all([lw.Request(p) for p in prompts], check_length_groups=True)
    assert [t.checks.covered_by for [t] in traces] == ["The city", "The city", "The city", PROMPT], "2 to 3, 4 to 7"
    [[again]] = model.trace_all([lw.Request("Rome is")], check_length_groups=True)
    assert again.checks.covered_by == "Rome is", "what was read before does not show"


def test_numbers_that_are_not_finite_behind_the_check_stop_the_run(fresh):
    model = fresh()
    model.trace(PROMPT)
    bad = model._loaded.tokenizer.encode(" Rome")[0]
    with torch.no_grad():
        model._loaded.hf.model.embed_tokens.weight[bad] = float("nan")
    assert model.trace(PROMPT).n_layers == 4
    with pytest.raises(CheckError, match=r"logit lens gives NaN or infinite numbers.*float32"):
        model.trace("The capital of Italy is Rome")


def test_an_overflow_in_half_precision_is_caught(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("llama3")
    with torch.no_grad():
        hf_model.model.layers[1].mlp.up_proj.weight *= 3000
    wide = lw.load(hf_model, tokenizer=hf_tokenizer).trace(PROMPT)
    assert wide.residual_norm.max() > 65504, "or nothing would overflow"
    narrow = lw.load(hf_model.half(), tokenizer=hf_tokenizer)
    with pytest.raises(CheckError, match=r"state at layer 2 .*overflowed in float16: try --dtype float32"):
        narrow.trace(PROMPT)


def test_bfloat16_passes_within_a_limit_that_still_catches_a_missing_soft_cap(fresh_parts):
    hf_model, hf_tokenizer = fresh_parts("gemma2")
    model = lw.load(hf_model.bfloat16(), tokenizer=hf_tokenizer)
    passed = model.trace(PROMPT).checks
    # The head of transformers returns bfloat16, ours float32: .05 measured, logits up to 10.
    assert 0 < passed.identity_error < 0.1 < passed.identity_limit < 0.35
    with pytest.raises(CheckError, match=r"bfloat16 rounding"):
        with_head(model, transform=OutputTransform()).trace(PROMPT)


def test_the_device_check_passes_on_the_cpu_itself(family):
    loaded = family._loaded
    ids = loaded.tokenizer.encode(PROMPT)
    assert check_device(loaded, loaded.output_head, last_states(family, ids), float32_states(loaded, ids)) < 1e-4


def test_a_device_that_computes_something_else_is_caught(fresh):
    """The hook stands for the device: it acts on the model's block, not on the CPU copy of it."""
    model = fresh()
    original = model._loaded.parts.blocks[2]

    def wrong(module, _args, output):
        if module is original:
            return output[0] * 1.05 if isinstance(output, tuple) else output * 1.05
        return output

    original.register_forward_hook(wrong)
    ids = model._loaded.tokenizer.encode(PROMPT)
    assert model.trace(PROMPT).checks.identity_error < 1e-5, "the identity check cannot see this"
    with pytest.raises(CheckError, match=r"differs from the CPU's.*--device cpu"):
        check_device(
            model._loaded, model._loaded.output_head, last_states(model, ids), float32_states(model._loaded, ids)
        )


def test_the_comparison_with_float32_runs_once_and_not_where_there_is_nothing_to_compare(tiny, monkeypatch):
    loaded = tiny._loaded
    elsewhere = dataclasses.replace(loaded, device=types.SimpleNamespace(type="cuda"))
    prompts = [prepare(loaded, Request(PROMPT))]
    captured, calls = capture_requests(loaded, prompts, prompts[0].ids), []
    found = Float32Check(device_error=2e-5, drift=None)
    monkeypatch.setattr(checks, "check_against_float32", lambda *_: calls.append(1) or found)
    checker = Checker()
    for _ in range(3):
        checker.check(elsewhere, prompts, captured, length_groups=False)
    assert calls == [1]
    assert checker.float32 == found
    checker = Checker()
    checker.check(loaded, prompts, captured, length_groups=False)
    assert calls == [1]
    assert checker.float32 is None


def test_a_model_that_was_changed_is_checked_again(fresh):
    model = fresh()
    first = model.trace("The capital of Germany is")
    with torch.no_grad():
        model._loaded.parts.final_norm.weight.mul_(2)
    second = model.trace("The capital of Germany is")
    assert second.checks.output_from == "own forward"
    assert second.checks.identity_error <= second.checks.identity_limit
    assert second.output != first.output


def test_an_unchanged_model_is_checked_once(fresh):
    model = fresh()
    model.trace("The capital of Germany is")
    assert model.trace("The capital of France is").checks.covered_by == "The capital of Germany is"
