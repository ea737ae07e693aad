"""Tensors that modules hold as plain attributes and that were computed with gradients.

Pruning leaves weights of that kind, recurrent blocks the state that they ended in. PyTorch copies none of them, and
each keeps all alive that it was computed from.
"""

import contextlib
import copy
from collections.abc import Iterable, Iterator
from typing import TypeVar

from torch import Tensor, nn

_Module = TypeVar("_Module", bound=nn.Module)


def copy_of(module: _Module, shared: Iterable[Tensor] = ()) -> _Module:
    """Return a copy, computed tensors among it as what they are now; some tensors are shared instead of copied."""
    memo = {id(tensor): tensor.detach().clone() for _, _, tensor in _computed(module)}
    return copy.deepcopy(module, memo | {id(tensor): tensor for tensor in shared})


@contextlib.contextmanager
def graphs_let_go(module: nn.Module) -> Iterator[None]:
    """Let what a module computes in the block keep its value alone."""
    before = [tensor for _, _, tensor in _computed(module)]
    try:
        yield
    finally:
        for holder, name, tensor in list(_computed(module)):
            if not any(tensor is each for each in before):
                setattr(holder, name, tensor.detach())


def _computed(module: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for each in module.modules():
        for name, value in vars(each).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                yield each, name, value
