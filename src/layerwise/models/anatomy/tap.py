"""Taps: where in a block's modules a site's values pass by and can be read, and changed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from layerwise.models.anatomy.shape import AS_IT_IS, Shape

Passing = Any
"""What enters a module first, or what leaves it: a tensor, or a tuple."""


@dataclass(frozen=True, eq=False)
class Tap:
    """A module, and which of the tensors that enter or leave it has a site's values."""

    module: nn.Module
    enters: bool
    """Whether the values are the module's first argument; else they are what it returns."""
    element: int = 0
    """Which, where it returns a tuple."""
    shape: Shape = AS_IT_IS
    """How the site's values lie in the tensor."""
    is_stream: bool = False
    """Whether the tensor goes on past the module as well, so that a change has to be made in it, not in a copy."""

    def hook(self, note: Callable[[Passing], None]) -> RemovableHandle:
        """Have `note` called with what enters or leaves the module, whenever it runs."""
        return self._hooked(note)

    def replacing(self, replaced: Callable[[Passing], Passing]) -> RemovableHandle:
        """Have what enters or leaves the module replaced by what `replaced` returns, whenever it runs."""
        return self._hooked(replaced)

    def _hooked(self, told: Callable[[Passing], Passing | None]) -> RemovableHandle:
        def entering(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            instead = told(first_argument(args, kwargs))
            if instead is None:
                return None
            if args:
                return (instead, *args[1:]), kwargs
            first = next(iter(kwargs))
            return args, {**kwargs, first: instead}

        if self.enters:
            return self.module.register_forward_pre_hook(entering, with_kwargs=True)
        return self.module.register_forward_hook(lambda _, __, output: told(output))

    def values(self, passing: Passing, positions: tuple[int, int]) -> Tensor | None:
        """Return the site's values, a copy; None if there are none where they are expected.

        Args:
            passing: what `hook` notes.
            positions: how many sequences and positions the block runs on. OPT joins the two axes for its MLP.
        """
        tensor = self._tensor(passing)
        if tensor is None:
            return None
        # A copy: Falcon adds to what its MLP returned, in place.
        return self.shape.read(_by_sequence(tensor, positions)).clone()

    def with_values(self, passing: Passing, positions: tuple[int, int], values: Tensor) -> Passing:
        """Return what passes with other values at the site, those of `values`."""
        tensor = self._tensor(passing)
        assert tensor is not None
        own = tensor if self.is_stream else tensor.clone()
        self.shape.write(_by_sequence(own, positions), values)
        if isinstance(passing, tuple):
            return (*passing[: self.element], own, *passing[self.element + 1 :])
        return own

    def _tensor(self, passing: Passing) -> Tensor | None:
        passing = passing if isinstance(passing, tuple) else (passing,)
        tensor = passing[self.element] if len(passing) > self.element else None
        return tensor if isinstance(tensor, Tensor) else None


def _by_sequence(tensor: Tensor, positions: tuple[int, int]) -> Tensor:
    return tensor.unflatten(0, positions) if tensor.dim() == 2 else tensor


def first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a module is called with first, by place or by name."""
    return next(iter((*args, *kwargs.values())))


Found = dict[str, Tap | str]
"""By kind of site: its tap, or why it has none."""
