"""Shared beginnings: attention over tokens that another group of segments has computed."""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from layerwise.models.blocks import Parts, text_config

KeysOrValues = Float[Tensor, "segment head position d_head"]


class SegmentKeys(DynamicLayer):
    """Keys and values of one block for a group of segments, those of the tokens before them included.

    Where a model expects its cache: it is told how many tokens stand before, and hands in the keys
    and values of its own.
    """

    def __init__(self, start: int, parents: list[tuple["SegmentKeys", int]]):
        super().__init__()
        self._start, self._parents = start, parents

    def get_seq_length(self) -> int:
        return self._start

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return keys and values from the first token on, and keep them for segments that go on from here."""
        self.keys = self._from_the_first(key_states, [(layer.keys, row) for layer, row in self._parents])
        self.values = self._from_the_first(value_states, [(layer.values, row) for layer, row in self._parents])
        return self.keys, self.values

    @staticmethod
    def _from_the_first(own: Tensor, before: list[tuple[Tensor | None, int]]) -> Tensor:
        if not before:
            return own
        return torch.cat([torch.stack([held[row] for held, row in before if held is not None]), own], dim=-2)


def segment_cache(n_blocks: int, start: int, parents: list[tuple[Cache, int]]) -> Cache:
    """Return a cache for a group of segments that begin at `start`.

    Args:
        n_blocks: how many blocks the model has.
        start: how many tokens stand before.
        parents: per segment, the cache of the group that it goes on from, and which row of it.
    """
    layers: list[Any] = [
        SegmentKeys(start, [(cache.layers[block], row) for cache, row in parents])  # type: ignore[misc]
        for block in range(n_blocks)
    ]
    return Cache(layers=layers)


def forget_block(caches: Iterable[Cache], block: int) -> None:
    """Drop the keys and values of a block that has been through every group."""
    for cache in caches:
        cache.layers[block].reset()


def can_share(parts: Parts, config: Any) -> bool:
    """Return whether all that a model's blocks know of earlier tokens is their keys and values."""
    if "past_key_values" not in inspect.signature(parts.backbone.forward).parameters:
        return False
    layers = DynamicCache(config=text_config(config)).layers
    return len(layers) == len(parts.blocks) and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers
    )
