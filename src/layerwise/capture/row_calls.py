"""Block calls for any number of rows that are the same text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache

from layerwise.capture.block_calls import BlockCall, record_block_calls
from layerwise.errors import UnsupportedModelError
from layerwise.models.loading.loaded import LoadedModel


@dataclass(frozen=True)
class RowCall:
    """A block's call whose arguments serve one row, and are repeated for more."""

    call: BlockCall
    """Of one row."""
    repeated: dict[int | str, int]
    """By place or name, the arguments that have the rows on an axis, by themselves or with heads, and which that is."""

    def __call__(self, block: nn.Module, hidden: Float[Tensor, "row position d_model"]) -> Tensor:
        """Return the block's output for rows of states."""
        if not self.repeated or len(hidden) == 1:
            return self.call(block, hidden)
        args = [self._for(len(hidden), place, value) for place, value in enumerate(self.call.args)]
        kwargs = {name: self._for(len(hidden), name, value) for name, value in self.call.kwargs.items()}
        return BlockCall(tuple(args), kwargs)(block, hidden)

    def _for(self, rows: int, name: int | str, value: Any) -> Any:
        if name not in self.repeated:
            return value
        axis = self.repeated[name]
        if value.shape[axis] == 1:
            return value.expand(*value.shape[:axis], rows, *value.shape[axis + 1 :])
        return torch.cat([value] * rows, axis)


@torch.no_grad()
def record_row_calls(
    model: LoadedModel, ids: Int[Tensor, " position"], cache: Callable[[], Cache | None]
) -> tuple[Float[Tensor, "1 position d_model"], list[RowCall]]:
    """Return layer 0 of a text, and the blocks' calls for any number of rows of it.

    Which arguments have rows is found by a second row. Where heads and rows share an axis (ALiBi), each row's heads
    follow one another.

    Args:
        model: whose calls.
        ids: the text, or its end, if what stands before is in the cache.
        cache: makes what the model is given as its cache, anew for each recording.

    Raises:
        UnsupportedModelError: an argument for two rows is not that for one, repeated.
    """
    hidden, calls = record_block_calls(model, ids[None], cache())
    _, of_two = record_block_calls(model, ids.expand(2, -1), cache())
    return hidden, [_row_call(one, two, model) for one, two in zip(calls, of_two, strict=True)]


def _row_call(one: BlockCall, two: BlockCall, model: LoadedModel) -> RowCall:
    repeated: dict[int | str, int] = {}
    named = [*enumerate(zip(one.args, two.args, strict=True))]
    named += [(name, (value, two.kwargs[name])) for name, value in one.kwargs.items()]  # type: ignore[misc]
    for name, (mine, theirs) in named:
        if not isinstance(mine, Tensor) or mine.shape == theirs.shape:
            continue
        axes = [axis for axis, size in enumerate(mine.shape) if theirs.shape[axis] != size]
        if mine.dim() != theirs.dim() or len(axes) != 1 or not _same(torch.cat([mine, mine], axes[0]), theirs):
            raise UnsupportedModelError(
                f"{type(model.hf).__name__} gives its blocks something for two texts ({name}) that is not what it "
                "gives for one, twice over, so many edits of one text cannot run side by side."
            )
        repeated[name] = axes[0]
    return RowCall(one, repeated)


def _same(twice: Tensor, of_two: Tensor) -> bool:
    """Return whether they are equal within rounding: what two rows are given may come from products (Gemma 4)."""
    if not twice.is_floating_point():
        return torch.equal(twice, of_two)
    error = 2**8 * torch.finfo(twice.dtype).eps
    return torch.allclose(twice, of_two, rtol=error, atol=error)
