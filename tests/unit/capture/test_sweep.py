import functools
from dataclasses import dataclass

import pytest
import torch

from layerwise.capture import sweep
from layerwise.capture.block_calls import BlockCall, record_block_calls
from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.sweep import Sweep
from layerwise.errors import UnsupportedModelError
from layerwise.models.loading.in_memory import model_in_memory
from layerwise.sites import Site
from tests.sweeps import states_of


def test_states_come_back_per_sequence_in_the_order_asked(tiny, oracle):
    truth = oracle(tiny)
    texts = ["The capital of Germany is", "Paris", "The capital of France is", "2 + 2 ="]
    ids = [tuple(truth.encode(text)) for text in texts]
    wanted = [(len(i) - 1, 0) for i in ids]
    states = states_of(tiny._loaded, [ForwardPass(i, w) for i, w in zip(ids, wanted, strict=True)])
    assert states.shape == (8, 5, 64)
    for one, i, w in zip(states.split(2), ids, wanted, strict=True):
        expected = truth.run(list(i))[0][:, list(w)]
        # Two prompts of one length share a batch, whose products are summed in another order.
        assert torch.allclose(one.movedim(1, 0), expected, rtol=1e-4, atol=1e-4)


def test_every_block_count_is_reported_once(tiny):
    seen = []
    states_of(tiny._loaded, [ForwardPass((5, 6), (1,)), ForwardPass((5, 6, 7), (1,))], lambda *told: seen.append(told))
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


@dataclass(frozen=True)
class Scaled:
    """Multiplies the states of some positions at a layer."""

    layer: int
    factor: float
    positions: tuple[int, ...]

    @property
    def site(self):
        return Site.at_layer(self.layer)

    def apply(self, values, first=0):
        values[list(self.positions)] *= self.factor
        return values


IDS = (5, 6, 7, 8, 9)


def edited_by_a_hook(loaded, edits):
    """Return transformers' own states with edits made by hooks on its modules, [position, layer, d_model]."""
    blocks, seen, hooks = loaded.parts.blocks, {}, []

    def change(layer, hidden):
        for edit in edits:
            if edit.layer == layer:
                hidden = edit.apply(hidden[0].clone())[None]
        seen[layer] = hidden[0]
        return hidden

    def before(_module, args, kwargs):
        return (change(0, args[0]), *args[1:]), kwargs

    hooks.append(blocks[0].register_forward_pre_hook(before, with_kwargs=True))
    for index, block in enumerate(blocks):
        hooks.append(block.register_forward_hook(lambda _m, _a, out, layer=index + 1: change(layer, out)))
    try:
        with torch.no_grad():
            loaded.hf(input_ids=torch.tensor([IDS]), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack([seen[layer] for layer in range(len(blocks) + 1)], dim=1)


EDITS = [(), (Scaled(0, 2.0, (1,)),), (Scaled(2, -1.0, (0, 3)),), (Scaled(1, 0.5, (2,)), Scaled(4, 3.0, (4,)))]


@pytest.mark.parametrize("edits", EDITS)
def test_an_edited_pass_is_transformers_with_the_same_edits(tiny, edits):
    everywhere = tuple(range(len(IDS)))
    beside = ForwardPass(IDS, everywhere)
    states = states_of(tiny._loaded, [beside, ForwardPass(IDS, everywhere, edits)])
    clean, edited = states.split(len(IDS))
    assert torch.allclose(edited, edited_by_a_hook(tiny._loaded, edits), rtol=1e-4, atol=1e-4)
    assert torch.allclose(clean, edited_by_a_hook(tiny._loaded, ()), rtol=1e-4, atol=1e-4), "and nothing beside it"


@pytest.mark.parametrize("edits", EDITS[1:])
def test_a_branch_is_the_edited_pass_run_from_its_first_edit_on(tiny, edits, monkeypatch):
    ran = []
    original = BlockCall.__call__
    monkeypatch.setattr(
        BlockCall, "__call__", lambda call, block, hidden: (ran.append(len(hidden)), original(call, block, hidden))[1]
    )
    parent = ForwardPass(IDS, (4,))
    branches = [ForwardPass(IDS, (0, 2, 4), edits, parent), ForwardPass(IDS, (4,), EDITS[2], parent)]
    states = states_of(tiny._loaded, [ForwardPass((9, 8, 7), (2,)), parent, *branches])
    expected = [edited_by_a_hook(tiny._loaded, each) for each in ((), edits, EDITS[2])]
    assert torch.allclose(states[1], expected[0][4], rtol=1e-4, atol=1e-4)
    assert torch.allclose(states[2:5], expected[1][[0, 2, 4]], rtol=1e-4, atol=1e-4)
    assert torch.allclose(states[5], expected[2][4], rtol=1e-4, atol=1e-4)
    n = tiny.n_layers
    first_layers = [min(edit.layer for edit in each) for each in (edits, EDITS[2])]
    assert sum(ran) == 2 * n + sum(n - layer for layer in first_layers), "branches ran from their first edit on only"


def test_edits_and_parents_are_part_of_what_a_pass_is():
    clean, edited = ForwardPass(IDS, (1,)), ForwardPass(IDS, (1,), EDITS[1])
    keys = {
        each.key for each in (clean, edited, ForwardPass(IDS, (1,), EDITS[2]), ForwardPass(IDS, (1,), EDITS[1], clean))
    }
    assert len(keys) == 4
    assert clean.key == ForwardPass(IDS, (0, 1)).key, "where somebody looks changes nothing"
    with pytest.raises(ValueError, match="A branch has edits"):
        ForwardPass(IDS, (1,), branch_of=clean)
    with pytest.raises(ValueError, match="over the ids of a pass"):
        ForwardPass((1, 2), (1,), EDITS[1], clean)


def test_a_branch_without_its_parent_is_refused(tiny):
    with pytest.raises(ValueError, match="parent has to be among"):
        Sweep(tiny._loaded, [ForwardPass(IDS, (1,), EDITS[1], ForwardPass(IDS, (2,)))])


def test_no_output_head_is_computed(fresh, monkeypatch):
    loaded = fresh()._loaded
    monkeypatch.setattr(loaded.hf.lm_head, "forward", pytest.fail)
    states_of(loaded, [ForwardPass((1, 2, 3), (2,))])


def test_states_carry_no_graph_even_where_weights_ask_for_gradients(fresh):
    loaded = fresh()._loaded
    assert any(p.requires_grad for p in loaded.hf.parameters())
    states = states_of(loaded, [ForwardPass((1, 2, 3), (2,))])
    assert not states.requires_grad


def test_batch_size_does_not_matter(tiny, monkeypatch):
    sequences = [ForwardPass((i, i + 1, i + 2), (0, 2)) for i in range(9)]
    together = states_of(tiny._loaded, sequences)
    monkeypatch.setattr(sweep, "_TOKENS_AT_ONCE", 1)
    alone = states_of(tiny._loaded, sequences)
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
    states = states_of(model._loaded, [ForwardPass(ids, tuple(range(len(ids))))])
    with torch.no_grad():
        theirs = model._loaded.hf(input_ids=torch.tensor([ids]), use_cache=False, output_hidden_states=True)
        normed = model._loaded.parts.final_norm(states[:, -1])
    for layer in range(4):
        assert torch.equal(states[:, layer], theirs.hidden_states[layer][0])
    assert torch.equal(normed, theirs.hidden_states[-1][0])
    model.trace("The capital of Germany is", generate=2)  # with its identity check


def test_the_blocks_form_is_found_out_once(fresh_parts, monkeypatch):
    hf_model, hf_tokenizer = fresh_parts("qwen3")
    loaded, runs = model_in_memory(hf_model, hf_tokenizer), []
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
