"""The lens against an implementation of others: TransformerLens's `logit_lens`, on the bridge."""

import pytest
import torch
from transformer_lens.tools.analysis import logit_lens

QUESTION = "Question: What is the capital of Germany? Answer:"


@pytest.fixture(scope="module")
def traces(every_model):
    """A trace from before the bridge was built, the bridge, a trace from after, weights before."""
    model = every_model
    weights = {name: tensor.clone() for name, tensor in model._loaded.hf.state_dict().items()}
    before = model.trace(QUESTION, answer=" Berlin", track=" the", positions="all")
    bridge = model.bridge
    ids = torch.tensor([[token.id for token in before.tokens]])
    theirs = logit_lens(bridge, ids, top_k=5, return_type="log_probs", positions=None)
    after = model.trace(QUESTION, answer=" Berlin", track=" the", positions="all")
    return before, theirs, after, weights


def test_top_tokens_agree_at_every_layer_and_position(traces):
    before, theirs, *_ = traces
    assert theirs.labels[0] == "0_pre"
    assert len(theirs.labels) == before.n_layers + 1
    ours = torch.tensor(before.top_logprobs)
    values, ids = theirs.values[:, 0], theirs.readout.top_ids[:, 0]
    # Both are float32; TransformerLens does not shift by the maximum. Measured: under 4e-4 where
    # logits reach 1,500 (Gemma 3 after BOS), 3e-5 elsewhere.
    assert torch.allclose(ours, values, atol=1e-3)
    clear = (values[..., 0] - values[..., 1]) > 1e-2
    assert clear.float().mean() > 0.8
    assert torch.equal(torch.tensor(before.top_ids)[..., 0][clear], ids[..., 0][clear])


def test_entropies_agree(traces):
    before, theirs, *_ = traces
    bits = theirs.readout.entropy[:, 0] / torch.log(torch.tensor(2.0))
    assert torch.allclose(torch.tensor(before.entropy_bits), bits, atol=1e-3)


def test_answer_rank_agrees(every_model, traces):
    before, *_ = traces
    token = before.answer.answers[0].ids[0]
    ids = torch.tensor([[t.id for t in before.tokens]])
    theirs = logit_lens(every_model.bridge, ids, targets=token, return_type="log_probs")
    ranks = theirs.rank_trajectory().flatten() + 1
    # Ranks deep in the vocabulary may swap with a neighbour that is equal to rounding.
    assert torch.allclose(torch.tensor(before.answer.rank).float(), ranks.float(), rtol=1e-3, atol=1)
    assert torch.allclose(torch.tensor(before.answer.logprob), theirs.values.flatten(), atol=1e-3)


def test_building_and_running_the_bridge_changes_no_trace_and_no_weight(every_model, traces):
    before, _, after, weights = traces
    assert before == after
    now = every_model._loaded.hf.state_dict()
    assert now.keys() == weights.keys()
    assert all(torch.equal(weights[name], now[name]) for name in weights)


def test_bridge_shares_the_models_memory(every_model):
    own = {tensor.data_ptr() for tensor in every_model._loaded.hf.parameters()}
    theirs = {tensor.data_ptr() for tensor in every_model.bridge.original_model.parameters()}
    assert len(theirs & own) / len(theirs) > 0.9
