"""Models that read long texts with other rotary frequencies than short ones, held against their own forward."""

import numpy as np
import pytest
import torch
import transformers

import layerwise as lw
from layerwise.capture import sweep

SHORT = 24
"""Tokens up to which the short factors hold."""


@pytest.fixture
def hf_model():
    config = transformers.Phi3Config(
        vocab_size=530,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=400,
        original_max_position_embeddings=SHORT,
        pad_token_id=0,
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": [1.0] * 8,
            "long_factor": [4.0] * 8,
            "original_max_position_embeddings": SHORT,
        },
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = transformers.Phi3ForCausalLM(config).eval()
        for weight in made.parameters():
            weight.data.mul_(4)
    return made


@pytest.fixture
def model(hf_model, toy_tokenizer):
    return lw.load(hf_model, tokenizer=toy_tokenizer(sentencepiece=False, bos=False))


def text(model, count):
    """A prompt of so many tokens."""
    prompt = "".join(chr(ord("a") + k * k % 23) for k in range(count))
    assert len(model._loaded.tokenizer.encode(prompt)) == count
    return prompt


def own(hf_model, ids):
    """What transformers says at every position of a text."""
    with torch.no_grad():
        return hf_model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float().log_softmax(-1).numpy()


def same(trace, hf_model):
    """Whether all that is read within the prompt is transformers' own output for the whole prompt."""
    expected = own(hf_model, [token.id for token in trace.tokens])[list(trace.positions)]
    said = np.take_along_axis(expected, trace.top_ids[-1].astype(int), axis=-1)
    return np.allclose(trace.top_logprobs[-1], said, atol=1e-4)


def test_the_two_sets_of_frequencies_differ(hf_model):
    ids = list(range(40, 40 + SHORT + 1))
    assert np.abs(own(hf_model, ids)[SHORT - 1] - own(hf_model, ids[:-1])[SHORT - 1]).max() > 0.1


def test_prompts_of_all_lengths_in_one_pass(model, hf_model):
    lengths = [5, SHORT + 1, SHORT - 1, SHORT, SHORT + 2, 60]
    requests = [lw.Request(text(model, length), positions="all") for length in lengths]
    traces = [trace for [trace] in model.trace_all(requests)]
    assert all(same(trace, hf_model) for trace in traces)
    covered = [len(trace.checks.covered_by) for trace in traces]
    assert covered == [5, SHORT + 1, 5, 5, SHORT + 1, SHORT + 1], "each set has a check of its own"


def test_a_long_prompt_comes_first(model, hf_model):
    assert same(model.trace(text(model, 40), positions="all"), hf_model)
    assert same(model.trace(text(model, 10), positions="all"), hf_model)


def test_a_beginning_is_not_cut_off_a_long_text(model, hf_model, monkeypatch):
    monkeypatch.setattr(sweep, "_TOKENS_AT_ONCE", 16)
    assert same(model.trace(text(model, 40), positions="all"), hf_model)


def test_long_texts_share_no_beginning(model, hf_model, monkeypatch):
    monkeypatch.setattr(sweep, "_LEAST_SAVED", 1)
    requests = [lw.Request(text(model, 40) + end, positions="all") for end in ("x", "yz")]
    assert all(same(trace, hf_model) for [trace] in model.trace_all(requests))


@pytest.mark.parametrize("length", [SHORT - 4, SHORT - 2, SHORT - 1, SHORT, SHORT + 1])
def test_an_answer_that_reaches_beyond_is_read_as_far_as_each_set_holds(model, hf_model, length):
    trace = model.trace(text(model, length), answer="zyxwv", positions="all")
    assert same(trace, hf_model), "the answer does not change what is read in the prompt"
    [answer] = trace.answer.answers
    ids = [token.id for token in (*trace.tokens, *answer.tokens)]
    expected = sum(own(hf_model, ids[:at])[-1, ids[at]] for at in range(length, len(ids)))
    assert len(answer.tokens) > 3
    assert trace.answer.logprob[-1] == pytest.approx(expected, abs=1e-3)


def test_what_is_generated_is_what_the_model_generates(model, hf_model):
    trace = model.trace(text(model, SHORT - 4), generate=10, temperatures=())
    ids = [token.id for token in trace.tokens]
    step = torch.tensor([ids])
    expected = hf_model.generate(step, attention_mask=torch.ones_like(step), max_new_tokens=10, do_sample=False)
    assert [token.id for token in trace.generated] == expected[0, len(ids) :].tolist()
    for place, position in enumerate(trace.positions):
        text_up_to = (ids + [token.id for token in trace.generated])[: max(len(ids), position + 1)]
        said = own(hf_model, text_up_to)[position]
        assert np.allclose(trace.top_logprobs[-1, place], said[trace.top_ids[-1, place].astype(int)], atol=1e-4)
