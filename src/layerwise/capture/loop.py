"""The one loop: residual streams at every layer, layers outside, groups of segments inside."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache

from layerwise.capture.calling import taken
from layerwise.capture.plan import Segment, Sequence, into_groups, split_into_segments
from layerwise.capture.shared import can_share, is_as_made, segment_cache
from layerwise.errors import UnsupportedModelError
from layerwise.models.blocks import Parts
from layerwise.models.loading import LoadedModel
from layerwise.models.residency import Resident
from layerwise.models.room import RoomOnDisk
from layerwise.models.waiting import noticing_others
from layerwise.types import Progress

OnLayer = Callable[[int, Float[Tensor, "place d_model"]], None]
"""Shown a layer and the states of all kept positions there."""

_TOKENS_AT_ONCE = 256
"""A block's activations for so many tokens take some tens of MB, and its products are as fast as they get."""

_ATTENDED_AT_ONCE = 8192
"""Keys and values of shared beginnings are repeated for every segment behind them: as many tokens as this."""

_PASS = 16
"""What one more pass through the blocks costs, in tokens: reading the weights once more."""

_LEAST_SAVED = 2 * _PASS
"""Tokens that a shared beginning has to save: it takes a pass of its own, and divides what comes behind it."""

_FOR_FILLING_UP = 1 << 20
"""Bytes on disk for what groups are filled up with; beyond, a group is kept in memory."""

_COMPILED = "_compiled_call_impl"
"""What PyTorch calls instead of `forward` in a module that was compiled in place (`block.compile()`)."""

_CALLED = ("forward", _COMPILED)

_returned: WeakKeyDictionary[nn.Module, int | None] = WeakKeyDictionary()
"""By list of blocks: how long a tuple they return that begins with the hidden state; None for the state itself."""


@dataclass(frozen=True)
class BlockCall:
    """The arguments, apart from the hidden state, with which a model calls one of its blocks."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """Return the block's output for `hidden`."""
        return output_state(block(hidden, *self.args, **self.kwargs))


@dataclass
class _Group:
    """Segments that begin at one position, on their way up."""

    hidden: Float[Tensor, "segment position d_model"]
    calls: list[BlockCall]
    kept: tuple[Int[Tensor, " place"], Int[Tensor, " place"]]
    """Segment and position, in `hidden`, of each state that is kept."""
    places: Int[Tensor, " place"]
    """Where those go on the place axis."""


@runtime_checkable
class Passenger(Protocol):
    """Something that goes up through a model's blocks, one after another."""

    def pass_through(self, index: int, block: nn.Module) -> None:
        """Go through a block, which has its weights now."""
        ...


class Sweep:
    """Sequences on their way up: the residual stream at every layer of their kept positions.

    Each block is transformers' own, called with the arguments that the model's own forward gives
    it. No output head is computed. Beginnings that sequences share go through the model once, where
    its blocks allow it and that saves time. States keep the model's dtype and device.
    """

    states: Float[Tensor, "place layer d_model"]
    """Layers 0 to n, of the kept positions, one sequence's after another's."""

    def __init__(
        self,
        model: LoadedModel,
        sequences: list[Sequence],
        progress: Progress | None = None,
        on_layer: OnLayer | None = None,
    ) -> None:
        """Stand at layer 0.

        Args:
            model: the model to run.
            sequences: what to run and which positions to keep.
            progress: told how many blocks are done.
            on_layer: shown each layer's states as soon as they are there.
        """
        # What was put into a model may go by the place of a token, by a text's length, or by how many run side by side.
        # One short text runs whole and by itself in any case.
        by_itself = len(sequences) == 1 and len(sequences[0].ids) <= _TOKENS_AT_ONCE
        as_made = by_itself or not isinstance(model.residency, Resident) or is_as_made(model.hf)
        shareable = not by_itself and as_made and can_share(model.parts, model.hf.config)
        segments = split_into_segments(
            sequences,
            _TOKENS_AT_ONCE,
            _LEAST_SAVED,
            # A cut-off beginning would be too short for the rotary frequencies of the whole.
            stays_whole=lambda sequence: not shareable or model.rope_of(len(sequence.ids)) > 0,
        )
        count, tokens = sum(len(s.positions) for s in sequences), sum(len(s.ids) for s in segments)
        self._disk = _room_on_disk(model, count * (model.n_layers + 1) + tokens)
        self._groups = _groups_at_layer_0(model, segments, _largest_group if as_made else _alone, self._disk)
        self._n_layers, self._progress, self._on_layer = model.n_layers, progress, on_layer
        self._residency, self._began = model.residency, time.perf_counter()
        self._read_before = self._residency.bytes_read
        like = self._groups[0].hidden
        shape = (count, model.n_layers + 1, like.shape[-1])
        self.states = self._disk.take(shape, like.dtype) if self._disk else like.new_empty(shape)
        self._keep(0)

    @torch.no_grad()
    def pass_through(self, index: int, block: nn.Module) -> None:
        for group in self._groups:
            done = group.calls[index](block, group.hidden)
            group.hidden = group.hidden.copy_(done) if self._disk else done
        self._keep(index + 1)

    def _keep(self, layer: int) -> None:
        for group in self._groups:
            self.states[group.places, layer] = group.hidden[group.kept]
            self.release()
        if self._progress:
            self._progress(self._pace(), layer, self._n_layers)
        if self._on_layer:
            self._on_layer(layer, self.states[:, layer])

    def release(self) -> None:
        """Give back the memory of states that lie on disk; they are read again when they are used."""
        if self._disk:
            self._disk.release()

    def _pace(self) -> str:
        """Return what is being done, for a streamed model with how fast its weights come."""
        read = self._residency.bytes_read - self._read_before
        if not read:
            return "running the model"
        return f"streaming the model, {read / 1e9 / (time.perf_counter() - self._began):.1f} GB/s"


def capture(
    model: LoadedModel, sequences: list[Sequence], progress: Progress | None = None
) -> Float[Tensor, "place layer d_model"]:
    """Return the states of a `Sweep` that has been through all blocks."""
    sweep = Sweep(model, sequences, progress)
    run_blocks(model, [sweep])
    return sweep.states


def run_blocks(model: LoadedModel, passengers: list[Passenger]) -> None:
    """Take passengers through all blocks, each of which comes to hand once."""
    computing = model.device.type == "cpu" and isinstance(model.residency, Resident)  # others wait for the disk
    with noticing_others() if computing else contextlib.nullcontext():
        for index in range(model.n_layers):
            with model.residency.at_hand(index) as block:
                for passenger in passengers:
                    passenger.pass_through(index, block)


def _room_on_disk(model: LoadedModel, n_states: int) -> RoomOnDisk | None:
    """Return room for so many states, those on their way included, where memory has none."""
    if model.device.type != "cpu":
        return None  # they are in the accelerator's memory, and the readout wants them there
    allowed, size = model.residency.room_for_states, n_states * model.output_head.weight.shape[1] * model.dtype.itemsize
    return None if allowed is None or size <= allowed else RoomOnDisk(size + _FOR_FILLING_UP)


def _groups_at_layer_0(
    model: LoadedModel, segments: list[Segment], largest: Callable[[Segment], int], disk: RoomOnDisk | None
) -> list[_Group]:
    """Return the groups that segments run in; each stands behind those that it goes on from."""
    parents = {segment.parent for segment in segments}
    groups: list[_Group] = []
    held: dict[int, tuple[Cache, int]] = {}
    for indices in into_groups(segments, largest, _PASS, lambda s: model.rope_of(s.start + len(s.ids))):
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
        rows, positions, places = torch.tensor(kept, dtype=torch.long, device=model.device).reshape(-1, 3).unbind(-1)
        groups.append(_Group(hidden, calls, (rows, positions), places))
    return groups


def _alone(_: Segment) -> int:
    return 1


def _largest_group(segment: Segment) -> int:
    """Return how many segments like this one may run side by side."""
    attended = segment.start + len(segment.ids) if segment.start else 0
    return max(1, min(_TOKENS_AT_ONCE // len(segment.ids), _ATTENDED_AT_ONCE // max(1, attended)))


@torch.no_grad()
def record_block_calls(
    model: LoadedModel, ids: Int[Tensor, "sequence position"], cache: Cache | None = None
) -> tuple[Float[Tensor, "sequence position d_model"], list[BlockCall]]:
    """Return layer 0 and each block's call, from the model's own forward with its blocks left out.

    Raises:
        UnsupportedModelError: the model's forward fails so, or doesn't call each block once.
    """
    parts = model.parts
    if parts.blocks not in _returned and cache is not None:
        record_block_calls(model, ids[:1, :1])  # finds that out by running a block, which must not touch the cache
    seen: list[tuple[Tensor, BlockCall]] = []
    first = contextlib.nullcontext() if parts.blocks in _returned else model.residency.at_hand(0)
    with first, _refused_if_it_fails(parts), replaced_forwards(parts.blocks, seen):
        cached = {} if cache is None else {"past_key_values": cache}
        parts.backbone(input_ids=ids, **taken(parts.backbone.forward, use_cache=cache is not None), **cached)
    if len(seen) != len(parts.blocks):
        raise _not_understood(parts, f"{len(seen)} calls of {len(parts.blocks)} blocks came where one of each is due")
    # Training asks for gradients of the embedded tokens, by a hook that doesn't mind torch.no_grad.
    hidden, calls = seen[0][0].detach(), [call for _, call in seen]
    if hidden.dim() != 3:  # Gemma 3n carries four states side by side
        raise _not_understood(parts, f"a hidden state of shape {tuple(hidden.shape)} came, not one per position")
    return hidden, calls


@contextlib.contextmanager
def replaced_forwards(blocks: nn.ModuleList, seen: list[tuple[Tensor, BlockCall]]) -> Iterator[None]:
    """Have every block note its call in `seen` and hand the hidden state on unchanged.

    It is handed on in the form in which the model's blocks return it, which the first recording
    finds out from the first block itself. Only the instances' `forward` is replaced, so that
    attributes which the model reads off its blocks stay; whatever `forward` an instance had before
    (accelerate sets one), compiled or not, comes back.
    """
    first = blocks[0].forward

    def note(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor | None, ...]:
        seen.append((hidden_states, BlockCall(args, kwargs)))
        if blocks not in _returned:
            with torch.no_grad():
                output = first(hidden_states, *args, **kwargs)
            _returned[blocks] = len(output) if isinstance(output, tuple) else None
        length = _returned[blocks]
        return hidden_states if length is None else (hidden_states, *[None] * (length - 1))

    before = [{name: block.__dict__[name] for name in _CALLED if name in block.__dict__} for block in blocks]
    try:
        for block in blocks:
            block.__dict__.pop(_COMPILED, None)
            block.forward = note
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            block.__dict__.pop("forward", None)
            block.__dict__.update(own)


@contextlib.contextmanager
def _refused_if_it_fails(parts: Parts) -> Iterator[None]:
    """Call a model unsupported whose forward does not run on recorders in its blocks' places."""
    try:
        yield
    except torch.OutOfMemoryError:  # a RuntimeError, but no fault of the model
        raise
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise _not_understood(parts, f"its forward fails ({type(error).__name__}: {error})") from error


def _not_understood(parts: Parts, what: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{type(parts.backbone).__name__} does not call its blocks in a way that layerwise understands: with each "
        f"block only noting its call and handing the hidden state on, {what}. layerwise reads decoders whose blocks "
        "form one chain, each called once with the hidden state first."
    )


def output_state(output: Any) -> Tensor:
    """Return the hidden state from what a block returns: itself, or a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output
