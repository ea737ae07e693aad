import copy

import pytest
import torch
from torch import nn

from layerwise.models.libraries.computed import copy_of, graphs_let_go


class Remembering(nn.Module):
    """A block that keeps the state it ended in."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, states):
        self.state = self.inner(states)
        return self.state


@pytest.fixture
def remembering():
    return nn.ModuleList([Remembering()])


def test_a_module_is_copied_with_what_it_computed(remembering):
    leaving = remembering[0](torch.ones(3))
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(remembering)
    twin = copy_of(remembering, shared=[remembering[0].inner.bias])
    assert twin[0].state.equal(leaving)
    assert twin[0].state is not leaving
    assert remembering[0].state is leaving
    assert twin[0].inner.bias is remembering[0].inner.bias
    assert twin[0].inner.weight is not remembering[0].inner.weight


def test_graphs_are_let_go_and_values_kept(remembering):
    with graphs_let_go(remembering):
        leaving = remembering[0](torch.ones(3))
    assert leaving.requires_grad
    assert not remembering[0].state.requires_grad
    assert remembering[0].state.equal(leaving)


def test_what_was_there_before_stays(remembering):
    mine = remembering[0](torch.ones(3))
    with graphs_let_go(remembering):
        pass
    assert remembering[0].state is mine
