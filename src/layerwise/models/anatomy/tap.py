"""Taps: where in a block's modules a site's values pass by and can be read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def _as_it_is(values: Tensor) -> Tensor:
    return values


@dataclass(frozen=True, eq=False)
class Tap:
    """A module, and which of the tensors that enter or leave it has a site's values."""

    module: nn.Module
    enters: bool
    """Whether the values are the module's first argument; else they are what it returns."""
    element: int = 0
    """Which, where it returns a tuple."""
    shaped: Callable[[Tensor], Tensor] = _as_it_is
    """From the tensor to the site's values."""

    def hook(self, note: Callable[[Any], None]) -> RemovableHandle:
        """Have `note` called with what enters or leaves the module, whenever it runs."""
        if self.enters:
            return self.module.register_forward_pre_hook(
                lambda _, args, kwargs: note(first_argument(args, kwargs)), with_kwargs=True
            )
        return self.module.register_forward_hook(lambda _, __, output: note(output))

    def values(self, passing: Any, positions: tuple[int, int]) -> Tensor | None:
        """Return the site's values, a copy; None if there are none where they are expected.

        Args:
            passing: what `hook` notes.
            positions: how many sequences and positions the block runs on. OPT joins the two axes for its MLP.
        """
        passing = passing if isinstance(passing, tuple) else (passing,)
        tensor = passing[self.element] if len(passing) > self.element else None
        if not isinstance(tensor, Tensor):
            return None
        # A copy: Falcon adds to what its MLP returned, in place.
        return self.shaped(tensor.unflatten(0, positions) if tensor.dim() == 2 else tensor).clone()


def first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a module is called with first, by place or by name."""
    return next(iter((*args, *kwargs.values())))


Found = dict[str, Tap | str]
"""By kind of site: its tap, or why it has none."""
