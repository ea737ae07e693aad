import functools

import pytest
import torch

from layerwise.capture import loop
from layerwise.capture.loop import capture, record_block_calls
from layerwise.capture.plan import Sequence
from layerwise.errors import UnsupportedModelError
from layerwise.models.loading import load_model


def test_states_come_back_per_sequence_in_the_order_asked(tiny, oracle):
    truth = oracle(tiny)
    texts = ["The capital of Germany is", "Paris", "The capital of France is", "2 + 2 ="]
    ids = [tuple(truth.encode(text)) for text in texts]
    wanted = [(len(i) - 1, 0) for i in ids]
    states = capture(tiny._loaded, [Sequence(i, w) for i, w in zip(ids, wanted, strict=True)])
    assert states.shape == (8, 5, 64)
    for one, i, w in zip(states.split(2), ids, wanted, strict=True):
        expected = truth.run(list(i))[0][:, list(w)]
        # Two prompts of one length share a batch, whose products are summed in another order.
        assert torch.allclose(one.movedim(1, 0), expected, rtol=1e-4, atol=1e-4)


def test_every_block_count_is_reported_once(tiny):
    seen = []
    capture(tiny._loaded, [Sequence((5, 6), (1,)), Sequence((5, 6, 7), (1,))], lambda *told: seen.append(told))
    assert seen == [("running the model", done, 4) for done in range(5)]


def test_recording_leaves_the_blocks_as_they_were(fresh):
    loaded = fresh()._loaded
    wrapped = loaded.parts.blocks[1]
    original = wrapped.forward
    wrapped.forward = functools.partial(original)  # an instance's own, as accelerate sets one
    own = wrapped.forward
    record_block_calls(loaded, torch.tensor([[1, 2, 3]]))
    assert wrapped.forward is own
    assert "forward" not in vars(loaded.parts.blocks[0])


def test_blocks_come_back_when_the_models_forward_fails(fresh):
    loaded = fresh()._loaded
    with pytest.raises(UnsupportedModelError, match=r"does not call its blocks in a way.*IndexError"):
        record_block_calls(loaded, torch.tensor([[10**6]]))
    assert all("forward" not in vars(block) for block in loaded.parts.blocks)


def test_no_output_head_is_computed(fresh, monkeypatch):
    loaded = fresh()._loaded
    monkeypatch.setattr(loaded.hf.lm_head, "forward", pytest.fail)
    capture(loaded, [Sequence((1, 2, 3), (2,))])


def test_states_carry_no_graph_even_where_weights_ask_for_gradients(fresh):
    loaded = fresh()._loaded
    assert any(p.requires_grad for p in loaded.hf.parameters())
    states = capture(loaded, [Sequence((1, 2, 3), (2,))])
    assert not states.requires_grad


def test_group_size_does_not_matter(tiny, monkeypatch):
    sequences = [Sequence((i, i + 1, i + 2), (0, 2)) for i in range(9)]
    together = capture(tiny._loaded, sequences)
    monkeypatch.setattr(loop, "_TOKENS_AT_ONCE", 1)
    alone = capture(tiny._loaded, sequences)
    # Matrix products of another height: measured 3e-6 relative.
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-4)


_OTHERS = [
    "BloomConfig",
    "FalconConfig",
    "GPTJConfig",
    "GPTNeoConfig",
    "MptConfig",
    "GPT2Config",
    "GPTNeoXConfig",
    "OPTConfig",
    "Phi3Config",
    "Olmo2Config",
]


@pytest.mark.parametrize("config", _OTHERS)
def test_every_layer_of_other_decoders_is_transformers_own(config, decoder):
    """Bloom, Falcon, GPT-J, GPT-Neo and MPT take the first item of what a block returns; the others don't."""
    model = decoder(config)
    ids = model._loaded.tokenizer.encode("The capital of Germany is")
    states = capture(model._loaded, [Sequence(ids, tuple(range(len(ids))))])
    with torch.no_grad():
        theirs = model._loaded.hf(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=True)
        normed = model._loaded.parts.final_norm(states[:, -1])
    for layer in range(4):
        assert torch.equal(states[:, layer], theirs.hidden_states[layer][0])
    assert torch.equal(normed, theirs.hidden_states[-1][0])
    model.trace("The capital of Germany is", generate=2)  # with its identity check


def test_the_blocks_form_is_found_out_once(fresh_parts, monkeypatch):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    loaded, runs = load_model(hf_model, tokenizer=hf_tokenizer), []
    first = loaded.parts.blocks[0]
    forward = first.forward
    monkeypatch.setattr(first, "forward", lambda *args, **kwargs: (runs.append(1), forward(*args, **kwargs))[1])
    for _ in range(3):
        record_block_calls(loaded, torch.tensor([[1, 2, 3]]))
    assert runs == [1]


def test_a_model_that_skips_blocks_is_refused(fresh):
    loaded = fresh()._loaded
    loaded.parts.backbone.config.num_hidden_layers = 3
    with pytest.raises(UnsupportedModelError, match=r"3 calls of 4 blocks"):
        record_block_calls(loaded, torch.tensor([[1, 2, 3]]))


def test_a_lack_of_memory_is_not_blamed_on_the_model(fresh, monkeypatch):
    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("no room")

    loaded = fresh()._loaded
    monkeypatch.setattr(loaded.parts.backbone.embed_tokens, "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        record_block_calls(loaded, torch.tensor([[1, 2, 3]]))


def test_several_states_side_by_side_are_refused(decoder):
    with pytest.raises(UnsupportedModelError, match=r"a hidden state of shape \(4, 1, 1, 64\)"):
        decoder("Gemma3nTextConfig")
