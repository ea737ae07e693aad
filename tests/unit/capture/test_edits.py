"""Edits inside blocks, made in a sweep, against hooks on transformers' own modules."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from layerwise.capture.edits import apply_, first_block_of
from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.loop import drive
from layerwise.capture.sweep import Sweep
from layerwise.errors import PromptError
from layerwise.models.anatomy.eager import eager_attention
from layerwise.sites import Site
from tests.sweeps import states_of

IDS = (5, 6, 7, 8, 9)
EVERYWHERE = tuple(range(len(IDS)))
LONGER = ForwardPass((9, 8, 7, 6, 5, 4, 3), (6,))


@dataclass(frozen=True)
class Changed:
    """An edit that does what a function does."""

    site: Site
    how: Callable[[Tensor], Tensor] = field(compare=False)

    def apply(self, values, first=0):
        return self.how(values)


def zero_at_2(values):
    values[2] = 0
    return values


def first_key_alone(pattern):
    return torch.eye(pattern.shape[-1])[0].expand_as(pattern)


MLP = Changed(Site(1, "mlp_out"), zero_at_2)
HEAD = Changed(Site(2, "z", 1), lambda values: values + 1)
STREAM = Changed(Site(0, "resid_post"), lambda values: -values)


def by_hooks(loaded, changes):
    """Return transformers' own states, [position, layer, d_model], with changes of what modules return or are given."""
    hooks = [
        module.register_forward_pre_hook(lambda _, args, change=change: (change(args[0].clone()),))
        if enters
        else module.register_forward_hook(lambda _, __, out, change=change: change(out.clone()))
        for module, enters, change in changes
    ]
    try:
        with torch.no_grad():
            states = loaded.hf.model(input_ids=torch.tensor([IDS]), output_hidden_states=True).hidden_states
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(states[:-1]).swapaxes(0, 1)  # the last is normed


def zero_mlp(out):
    out[:, 2] = 0
    return out


def add_to_head_1(z):
    z.unflatten(-1, (4, -1))[:, :, 1] += 1
    return z


def test_edits_inside_blocks_are_those_of_hooks_and_touch_no_other_pass(tiny):
    loaded = tiny._loaded
    blocks = loaded.parts.blocks
    states = states_of(loaded, [LONGER, ForwardPass(IDS, EVERYWHERE, (MLP, HEAD)), ForwardPass(IDS, EVERYWHERE)])
    expected = by_hooks(loaded, [(blocks[1].mlp, False, zero_mlp), (blocks[2].self_attn.o_proj, True, add_to_head_1)])
    assert torch.allclose(states[1:6, :-1], expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(states[6:, :-1], by_hooks(loaded, []), rtol=1e-4, atol=1e-4)
    assert torch.allclose(states[0], states_of(loaded, [LONGER])[0], rtol=1e-4, atol=1e-4)
    unedited = states_of(loaded, [ForwardPass(IDS, EVERYWHERE)])
    assert torch.allclose(states[1:6, :2], unedited[:, :2], rtol=1e-4, atol=1e-4), "nothing before it"


def test_edits_of_one_block_are_made_in_the_order_in_which_it_computes(tiny):
    attention = Changed(Site(1, "attn_out"), torch.zeros_like)
    between = Changed(Site(1, "resid_mid"), lambda values: 2 * values)
    mlp = Changed(Site(1, "mlp_out"), torch.zeros_like)
    for edits in ((attention, between, mlp), (mlp, between, attention)):
        states = states_of(tiny._loaded, [ForwardPass(IDS, EVERYWHERE, edits)])
        assert torch.equal(states[:, 2], 2 * states[:, 1])


def test_two_edits_of_one_site_are_made_one_after_the_other(tiny):
    doubled = Changed(Site(1, "mlp_out"), lambda values: 2 * values)
    zeroed = Changed(Site(1, "mlp_out"), torch.zeros_like)
    plus_one = Changed(Site(1, "mlp_out"), torch.ones_like)
    once, twice = (
        states_of(tiny._loaded, [ForwardPass(IDS, EVERYWHERE, edits)])
        for edits in ((zeroed,), (plus_one, doubled, zeroed))
    )
    assert torch.equal(once, twice)


def test_a_pattern_is_changed_where_attention_runs_step_by_step(tiny):
    edit = Changed(Site(1, "pattern", 3), first_key_alone)
    forward_pass = ForwardPass(IDS, EVERYWHERE, (edit,))
    seen = {}

    class See:
        def looks_at(self, site):
            return site in (Site(1, "z"), Site(1, "pattern"))

        def see(self, site, places, values):
            seen[site.kind] = values

        def seen(self, site):
            pass

    with eager_attention(tiny.hf):
        drive(tiny._loaded, [Sweep(tiny._loaded, [forward_pass], [See()])])
    assert torch.equal(seen["pattern"][:, 3], torch.eye(5)[0].expand(5, 5))
    assert torch.allclose(seen["z"][:, 3], seen["z"][:1, 3].expand(5, -1), atol=1e-5)
    assert not torch.allclose(seen["z"][:, 2], seen["z"][:1, 2].expand(5, -1), atol=1e-2)


def test_a_branch_leaves_its_parent_before_the_block_that_it_changes(tiny):
    parent = ForwardPass(IDS, (4,))
    whole = states_of(tiny._loaded, [ForwardPass(IDS, (4,), (HEAD, STREAM)), ForwardPass(IDS, (4,), (HEAD,))])
    branched = states_of(
        tiny._loaded, [parent, ForwardPass(IDS, (4,), (HEAD, STREAM), parent), ForwardPass(IDS, (4,), (HEAD,), parent)]
    )
    assert torch.allclose(branched[1:], whole, rtol=1e-4, atol=1e-4)
    assert [first_block_of(edit) for edit in (HEAD, MLP, STREAM)] == [2, 1, 1]


@pytest.mark.parametrize("site", [Site(1, "z", 4), Site(1, "k", 2), Site(1, "pattern", 9)])
def test_a_head_that_is_not_there_is_refused(tiny, site):
    with pytest.raises(PromptError, match=r"There is no blocks\.1.* of these heads"), eager_attention(tiny.hf):
        states_of(tiny._loaded, [ForwardPass(IDS, EVERYWHERE, (Changed(site, torch.zeros_like),))])


def test_a_head_of_a_pass_is_changed_in_place():
    values = torch.ones(5, 4, 3)
    apply_(Changed(Site(0, "z", 2), torch.zeros_like), values)
    assert values.sum(dim=(0, 2)).tolist() == [15, 15, 0, 15]
    pattern = torch.ones(4, 5, 5)
    apply_(Changed(Site(0, "pattern", 2), torch.zeros_like), pattern)
    assert pattern.sum(dim=(1, 2)).tolist() == [25, 25, 0, 25]
