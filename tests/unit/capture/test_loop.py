import functools

import pytest
import torch

from layerwise.capture import loop
from layerwise.capture.loop import capture, record_block_calls
from layerwise.capture.plan import Sequence


def test_states_come_back_per_sequence_in_the_order_asked(tiny, oracle):
    truth = oracle(tiny)
    texts = ["The capital of Germany is", "Paris", "The capital of France is", "2 + 2 ="]
    ids = [tuple(truth.encode(text)) for text in texts]
    wanted = [(len(i) - 1, 0) for i in ids]
    states = capture(tiny._loaded, [Sequence(i, w) for i, w in zip(ids, wanted, strict=True)])
    for one, i, w in zip(states, ids, wanted, strict=True):
        assert one.shape == (2, 5, 64)
        expected = truth.run(list(i))[0][:, list(w)]
        # Two prompts of one length share a batch, whose products are summed in another order.
        assert torch.allclose(one.movedim(1, 0), expected, rtol=1e-4, atol=1e-4)


def test_every_block_count_is_reported_once(tiny):
    seen = []
    capture(tiny._loaded, [Sequence((5, 6), (1,)), Sequence((5, 6, 7), (1,))], seen.append)
    assert seen == [0, 1, 2, 3, 4]


def test_recording_leaves_the_blocks_as_they_were(fresh):
    loaded = fresh()._loaded
    wrapped = loaded.parts.blocks[1]
    original = wrapped.forward
    wrapped.forward = functools.partial(original)  # an instance's own, as accelerate sets one
    own = wrapped.forward
    record_block_calls(loaded.parts, torch.tensor([[1, 2, 3]]))
    assert wrapped.forward is own
    assert "forward" not in vars(loaded.parts.blocks[0])


def test_blocks_come_back_when_the_models_forward_fails(fresh):
    loaded = fresh()._loaded
    with pytest.raises(IndexError):
        record_block_calls(loaded.parts, torch.tensor([[10**6]]))
    assert all("forward" not in vars(block) for block in loaded.parts.blocks)


def test_no_output_head_is_computed(fresh, monkeypatch):
    loaded = fresh()._loaded
    monkeypatch.setattr(loaded.hf.lm_head, "forward", pytest.fail)
    capture(loaded, [Sequence((1, 2, 3), (2,))])


def test_states_carry_no_graph_even_where_weights_ask_for_gradients(fresh):
    loaded = fresh()._loaded
    assert any(p.requires_grad for p in loaded.hf.parameters())
    [states] = capture(loaded, [Sequence((1, 2, 3), (2,))])
    assert not states.requires_grad


def test_group_size_does_not_matter(tiny, monkeypatch):
    sequences = [Sequence((i, i + 1, i + 2), (0, 2)) for i in range(9)]
    together = capture(tiny._loaded, sequences)
    monkeypatch.setattr(loop, "_TOKENS_AT_ONCE", 1)
    alone = capture(tiny._loaded, sequences)
    for a, b in zip(together, alone, strict=True):
        # Matrix products of another height: measured 3e-6 relative.
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4)
