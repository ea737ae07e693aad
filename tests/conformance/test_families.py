"""Every family against transformers itself, on tiny random checkpoints made from the real configuration classes."""

import numpy as np
import pytest
import torch
import transformers

from layerwise.capture.forward_pass import ForwardPass
from tests.sweeps import states_of

PROMPT = "The capital of Germany is Berlin"


def captured(model, trace):
    """Return the states [layer, position, d_model] of a trace's prompt."""
    ids = tuple(token.id for token in trace.tokens)
    return states_of(model._loaded, [ForwardPass(ids, tuple(range(len(ids))))]).movedim(1, 0)


def close(got, expected, relative: float) -> bool:
    scale = expected.abs().amax().clamp_min(1.0)
    return bool(((got - expected).abs() <= relative * scale).all())


def test_the_last_layer_is_the_models_own_output(name, traced):
    trace = traced(name)
    assert trace.checks.identity_error < 1e-4
    assert trace.top_logprobs.std() > 0.3, "logits that do not spread would prove nothing"


def test_every_state_is_transformers_own(name, whole, traced, own):
    states = own(name).states()
    assert torch.equal(captured(whole(name), traced(name)), states)


def test_every_layer_is_read_as_the_model_reads_its_last(name, whole, traced, own):
    """The model's own forward reads each layer: whatever lies after the last block is in it."""
    states = own(name).states()
    expected = own(name).readout(states)
    head = whole(name)._loaded.output_head
    got = torch.stack([head.logits(head.normed(layer)) for layer in states])
    # Sums of 64 products in float32, in another order.
    assert close(got, expected, 1e-5)
    top = torch.tensor(traced(name).top_logprobs)
    assert close(top, expected.log_softmax(-1).topk(top.shape[-1]).values, 1e-5)


def test_streamed_equals_whole(name, streamed, traced):
    trace, fed = traced(name), streamed(name).trace(PROMPT, answer=" Paris", positions="all")
    assert np.array_equal(trace.top_ids[..., 0], fed.top_ids[..., 0])
    # Most give the same bits; recurrent blocks and mixtures of experts may differ in the last ones.
    assert np.allclose(trace.top_logprobs, fed.top_logprobs, atol=1e-4)
    assert np.allclose(trace.answer_logprob, fed.answer_logprob, atol=1e-4)


def test_tokens_are_what_the_tokenizer_makes_by_itself(name, checkpoint, traced, expects_bos):
    hf_tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint(name))
    ids = [token.id for token in traced(name).tokens]
    assert ids == hf_tokenizer(PROMPT)["input_ids"]
    assert (ids[0] == hf_tokenizer.bos_token_id) == expects_bos(name)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", ["qwen2", "llama2", "gemma", "phi3", "gpt2", "gpt-neox", "falcon", "opt", "mamba"])
def test_tied_and_untied_unembeddings_are_read_whole_and_streamed(family, tied, whole, streamed):
    model = whole(family, tied)
    hf_model = model._loaded.hf
    embedding, unembedding = hf_model.get_input_embeddings().weight, hf_model.get_output_embeddings().weight
    assert (embedding.data_ptr() == unembedding.data_ptr()) == tied
    trace, fed = (each.trace(PROMPT, positions="all") for each in (model, streamed(family, tied)))
    assert np.allclose(trace.top_logprobs, fed.top_logprobs, atol=1e-4)
