"""Shared beginnings: attention over tokens that another batch of segments has computed."""

import inspect
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from layerwise.models.anatomy.decoder import Parts, cache_slots, text_config

_MAKERS = ("torch", "transformers", "transformers_modules", "layerwise.models")
"""Whose modules go by the positions that they are told, and whose hooks do nothing to a place: our own, too, which
streamed models have in the places of what they read from disk."""


class SegmentKeys(DynamicLayer):
    """Keys and values of one block for a batch of segments, those of the tokens before them included.

    Where a model expects its cache: it is told how many tokens stand before, and hands in the keys
    and values of its own. They are held until the last segment that goes on from them has had them, or for good.
    """

    def __init__(self, start: int, parents: list[tuple["SegmentKeys", int]], held: bool = False):
        super().__init__()
        self._start, self._parents, self._held = start, parents, held
        self._awaited = 0
        for layer, _row in parents:
            layer._awaited += 1

    def get_seq_length(self) -> int:
        return self._start

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return keys and values from the first token on."""
        keys = self._from_the_first(key_states, [layer.keys for layer, _row in self._parents])
        values = self._from_the_first(value_states, [layer.values for layer, _row in self._parents])
        if self._awaited or self._held:
            self.keys, self.values = keys, values
        for layer, _row in self._parents:
            layer._awaited -= 1
            if not layer._awaited and not layer._held:
                layer.keys = layer.values = None
        return keys, values

    def _from_the_first(self, own: Tensor, held: list[Tensor | None]) -> Tensor:
        if not held:
            return own
        rows = zip(held, self._parents, strict=True)
        before = torch.stack([states[row] for states, (_, row) in rows if states is not None])
        return torch.cat([before, own], dim=-2)


def segment_cache(n_blocks: int, start: int, parents: list[tuple[Cache, int]], *, held: bool = False) -> Cache:
    """Return a cache for a batch of segments that begin at `start`.

    Args:
        n_blocks: how many blocks the model has.
        start: how many tokens stand before.
        parents: per segment, the cache of the batch that it goes on from, and which row of it.
        held: keep keys and values for blocks that run on what comes after more than once.
    """
    layers: list[Any] = [
        SegmentKeys(start, [(cache.layers[block], row) for cache, row in parents], held)  # type: ignore[misc]
        for block in range(n_blocks)
    ]
    return Cache(layers=layers)


class KeysBefore(DynamicLayer):
    """Keys and values of one block for rows that go on from the same text: its own before some position, then theirs.

    The text's are read when the rows run, after the text did.
    """

    def __init__(self, text: SegmentKeys, start: int):
        super().__init__()
        self._text, self._start = text, start

    def get_seq_length(self) -> int:
        return self._start

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return keys and values from the first token on."""
        return self._after(self._text.keys, key_states), self._after(self._text.values, value_states)

    def _after(self, text: Tensor | None, own: Tensor) -> Tensor:
        assert text is not None, "the text has run through this block"
        return torch.cat([text[:, :, : self._start].expand(len(own), -1, -1, -1), own], dim=-2)


def keys_before(text: Cache, start: int) -> Cache:
    """Return a cache for rows that go on from position `start` of the one text that has another (`segment_cache`)."""
    layers: list[Any] = [KeysBefore(layer, start) for layer in text.layers]  # type: ignore[arg-type]
    return Cache(layers=layers)


def is_as_made(hf_model: Any) -> bool:
    """Return whether nothing was put into a model that may go by a token's place in what it is called with.

    A hook that changes the first token's state, or the fifth's, would find another token there in a part of a text.
    """
    return all(
        _is_theirs(type(module))
        and getattr(module.forward, "__func__", None) is type(module).forward
        # transformers keeps hooks of its own, which only look, once it was asked for hidden states.
        and all(map(_is_theirs, (*module._forward_hooks.values(), *module._forward_pre_hooks.values())))
        for module in hf_model.modules()
    )


def _is_theirs(thing: Any) -> bool:
    where = f"{getattr(thing, '__module__', '')}."
    return any(where.startswith(f"{maker}.") for maker in _MAKERS)


def can_share(parts: Parts, config: Any) -> bool:
    """Return whether all that a model's blocks know of earlier tokens is their keys and values."""
    if "past_key_values" not in inspect.signature(parts.backbone.forward).parameters:
        return False
    if any(slots - {index} for index, slots in enumerate(cache_slots(parts.blocks))):
        return False  # blocks were taken out or moved
    layers = DynamicCache(config=text_config(config)).layers
    return len(layers) == len(parts.blocks) and all(
        type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers
    )
