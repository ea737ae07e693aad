"""Batches: segments that go up through the blocks side by side."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.cache_utils import Cache

from layerwise.capture.block_calls import BlockCall, record_block_calls
from layerwise.capture.edits import Edit, edited_rows
from layerwise.capture.segments import Segment, into_batches
from layerwise.capture.shared_beginnings import segment_cache
from layerwise.models.anatomy.anatomy import Anatomy
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.machine.arena import ArenaOnDisk


@dataclass
class Batch:
    """Segments that begin at one position, on their way up."""

    hidden: Float[Tensor, "segment position d_model"]
    calls: list[BlockCall]
    kept: Int[Tensor, "3 place"]
    """Of each state that is kept: segment and position in `hidden`, and its place."""
    edits: list[tuple[int, int, Edit]] = field(default_factory=list)
    """Segment, its tokens, and what is changed there."""
    row_of: dict[int, int] = field(default_factory=dict)
    """By the index of a pass that had to stay whole: its segment."""

    @property
    def places(self) -> Tensor:
        return self.kept[2]

    @property
    def values(self) -> Tensor:
        """The states that are kept, [place, d_model]."""
        return self.hidden[self.kept[0], self.kept[1]]

    def edited(self, index: int, anatomy: Anatomy) -> contextlib.AbstractContextManager[None]:
        """Return a context in which its edits inside a block are made."""
        return edited_rows(self.edits, index, anatomy)


def batches_at_layer_0(
    model: LoadedModel,
    segments: list[Segment],
    largest: Callable[[Segment], int],
    wasted: int,
    disk: ArenaOnDisk | None,
) -> list[Batch]:
    """Return the batches that segments run in; each stands after those that it goes on from.

    `largest` and `wasted` are those of `into_batches`. What is on its way lies on disk where there is one.
    """
    parents = {segment.parent for segment in segments}
    batches: list[Batch] = []
    held: dict[int, tuple[Cache, int]] = {}
    for indices in into_batches(segments, largest, wasted, lambda s: model.rope_of(s.start + len(s.ids))):
        mine = [segments[index] for index in indices]
        start, cache = mine[0].start, None
        if start > 0 or indices[0] in parents:
            before = [held[segment.parent] for segment in mine if segment.parent is not None]
            cache = segment_cache(model.n_layers, start, before)
            held.update((index, (cache, row)) for row, index in enumerate(indices))
        longest = max(len(segment.ids) for segment in mine)
        filled_up = [segment.ids + segment.ids[-1:] * (longest - len(segment.ids)) for segment in mine]
        ids = torch.tensor(filled_up, device=model.device)
        hidden, calls = record_block_calls(model, ids, cache)
        kept = [(row, position, place) for row, segment in enumerate(mine) for position, place in segment.kept]
        if disk:
            hidden = disk.take(tuple(hidden.shape), hidden.dtype).copy_(hidden)
        whole = [(row, segment) for row, segment in enumerate(mine) if segment.whole is not None]
        batches.append(
            Batch(
                hidden,
                calls,
                torch.tensor(kept, dtype=torch.long, device=model.device).reshape(-1, 3).T,
                [(row, len(segment.ids), edit) for row, segment in whole for edit in segment.edits],
                {segment.whole: row for row, segment in whole if segment.whole is not None},
            )
        )
    return batches
