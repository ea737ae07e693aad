"""A sweep: forward passes on their way up through the blocks, side by side in batches."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.capture.batches import Batch, batches_at_layer_0
from layerwise.capture.block_calls import record_block_calls
from layerwise.capture.edits import apply_, first_block_of
from layerwise.capture.forward_pass import ForwardPass, own_places
from layerwise.capture.observers import KeptStates, Observer
from layerwise.capture.segments import Segment, split_into_segments
from layerwise.capture.shared_beginnings import can_share, is_as_made
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.machine.arena import ArenaOnDisk
from layerwise.sites import KINDS, STREAM, Site
from layerwise.types import Progress

_TOKENS_AT_ONCE = 256
"""A block's activations for so many tokens take some tens of MB, and its products are as fast as they get."""

_ATTENDED_AT_ONCE = 8192
"""Keys and values of shared beginnings are repeated for every segment after them: as many tokens as this."""

_PASS = 16
"""What one more pass through the blocks costs, in tokens: reading the weights once more."""

_LEAST_SAVED = 2 * _PASS
"""Tokens that a shared beginning has to save: it takes a pass of its own, and divides what comes after it."""

_FOR_FILLING_UP = 1 << 20
"""Bytes on disk for what batches are filled up with; beyond, a batch is kept in memory."""


@dataclass(frozen=True)
class _Branch:
    """A pass that copies another until its first edit."""

    forward_pass: ForwardPass
    parent: int
    """Index of that other, among the passes that are no branches."""
    kept: list[tuple[int, int]]
    """Positions, and their places."""


class Sweep:
    """Forward passes on their way up, and what is taken from them on the way.

    Each block is transformers' own, called with the arguments that the model's own forward gives
    it. No output head is computed. Beginnings that passes share go through the model once, where
    its blocks allow it and that saves time. A branch copies its parent until its first edit. States keep the model's
    dtype and device.
    """

    states: Float[Tensor, "place layer d_model"]
    """Layers 0 to n, of the kept positions, one pass's after another's; of no place where they are not kept."""

    def __init__(
        self,
        model: LoadedModel,
        passes: Sequence[ForwardPass],
        observers: Sequence[Observer] = (),
        *,
        keep_states: bool = True,
        apart: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Stand at layer 0, and show it.

        Args:
            model: the model to run.
            passes: what to run and which positions to look at.
            observers: what looks on.
            keep_states: keep the residual stream at every layer (`states`).
            apart: run each pass whole and by itself, as the model's own forward would.
            progress: told how many blocks are done.

        Raises:
            ValueError: a branch's parent is not among the passes.
        """
        self._model, self._progress = model, progress
        self._residency, self._began = model.residency, time.perf_counter()
        self._read_before = self._residency.bytes_read
        self._branches = _by_first_layer(passes)
        segments, largest = self._planned(passes, apart)
        count = sum(len(each.positions) for each in passes) if keep_states else 0
        tokens = sum(len(segment.ids) for segment in segments) + sum(len(e.ids) for e in passes if e.branch_of)
        self._disk = _arena_on_disk(model, count * (model.n_layers + 1) + tokens)
        self._batches = batches_at_layer_0(model, segments, largest, _PASS, self._disk)
        like = self._batches[0].hidden
        shape = (count, model.n_layers + 1, like.shape[-1])
        self.states = self._disk.take(shape, like.dtype) if self._disk else like.new_empty(shape)
        self._observers = [*([KeptStates(self.states, self._disk)] if keep_states else []), *observers]
        inside = [kind for kind in KINDS if kind not in STREAM]
        self._inside = [
            [kind for kind in inside if any(each.looks_at(Site(index, kind)) for each in observers)]
            for index in range(model.n_layers)
        ]
        """Kinds of sites inside each block that observers look at."""
        self._arrive(0)

    @torch.no_grad()
    def run_block(self, index: int, block: nn.Module) -> None:
        """Take every batch through a block, which has its weights now."""
        for batch in self._batches:
            with batch.edited(index, self._model.anatomy), self._watched(index, batch):
                done = batch.calls[index](block, batch.hidden)
            batch.hidden = batch.hidden.copy_(done) if self._disk else done
        for kind in self._inside[index]:
            for observer in self._looking(Site(index, kind)):
                observer.seen(Site(index, kind))
        self._arrive(index + 1)

    def release(self) -> None:
        """Give back the memory of states that lie on disk; they are read again when they are used."""
        if self._disk:
            self._disk.release()

    def _planned(self, passes: Sequence[ForwardPass], apart: bool) -> tuple[list[Segment], Callable[[Segment], int]]:
        """Return the segments of all passes that are no branches, and how many of them may run side by side."""
        model = self._model
        # What was put into a model may go by the place of a token, by a text's length, or by how many run side by side.
        # One short text runs whole and by itself in any case.
        by_itself = len(passes) == 1 and len(passes[0].ids) <= _TOKENS_AT_ONCE
        as_made = not apart and (by_itself or is_as_made(model.hf))
        shareable = not by_itself and as_made and can_share(model.parts, model.hf.config)
        trunks = [each for each in passes if each.branch_of is None]
        # What branches keep is their parents' until they leave them.
        looked_at = [places for each, places in zip(passes, own_places(passes), strict=True) if not each.branch_of]
        for branch in (branch for branches in self._branches.values() for branch in branches):
            looked_at[branch.parent] += branch.kept
        parents = {branch.parent for branches in self._branches.values() for branch in branches}

        def stays_whole(index: int) -> bool:
            each = trunks[index]
            # A cut-off beginning would be too short for the rotary frequencies of the whole.
            return not shareable or bool(each.edits) or index in parents or model.rope_of(len(each.ids)) > 0

        segments = split_into_segments(trunks, _TOKENS_AT_ONCE, _LEAST_SAVED, stays_whole, looked_at)
        return segments, _largest_batch if as_made else _alone

    @torch.no_grad()
    def _arrive(self, layer: int) -> None:
        """Be at a layer: branches leave their parents, edits are made, and everybody looks."""
        for branch in self._branches.pop(layer, ()):
            self._branch_off(branch)
        site = Site.at_layer(layer)
        for batch in self._batches:
            for row, length, edit in batch.edits:
                if edit.site.layer == layer:
                    batch.hidden = batch.hidden.clone()  # a parent's, or a model's own embeddings
                    apply_(edit, batch.hidden[row, :length])
        looking = self._looking(site)
        for batch in self._batches if looking else ():
            values = batch.values
            for observer in looking:
                observer.see(site, batch.places, values)
        for observer in looking:
            observer.seen(site)
        if self._progress:
            self._progress(self._pace(), layer, self._model.n_layers)

    def _looking(self, site: Site) -> list[Observer]:
        return [observer for observer in self._observers if observer.looks_at(site)]

    def _watched(self, index: int, batch: Batch) -> contextlib.AbstractContextManager[None]:
        """Return a context in which observers see what a batch has inside a block."""

        def see(site: Site, values: Tensor) -> None:
            rows, positions, places = batch.kept
            # Patterns come by sequence, head and query; all else by sequence and position.
            kept = values[rows, :, positions] if site.kind == "pattern" else values[rows, positions]
            for observer in self._looking(site):
                observer.see(site, places, kept)

        kinds = self._inside[index]
        return self._model.anatomy.watching(index, kinds, see) if kinds else contextlib.nullcontext()

    def _branch_off(self, branch: _Branch) -> None:
        """Have a branch go its own way from here: its parent's state, and its own place from now on."""
        batch = next(batch for batch in self._batches if branch.parent in batch.row_of)
        row, ids = batch.row_of[branch.parent], branch.forward_pass.ids
        places = torch.tensor([place for _, place in branch.kept], device=batch.places.device)
        mine = torch.isin(batch.places, places)
        kept, batch.kept = batch.kept[:, mine].clone(), batch.kept[:, ~mine]
        kept[0] = 0
        _, calls = record_block_calls(self._model, torch.tensor([ids], device=self._model.device))
        edits = [(0, len(ids), edit) for edit in branch.forward_pass.edits]
        self._batches.append(Batch(batch.hidden[row : row + 1, : len(ids)].clone(), calls, kept, edits))

    def _pace(self) -> str:
        """Return what is being done, for a streamed model with how fast its weights come."""
        read = self._residency.bytes_read - self._read_before
        if not read:
            return "running the model"
        return f"streaming the model, {read / 1e9 / (time.perf_counter() - self._began):.1f} GB/s"


def _by_first_layer(passes: Sequence[ForwardPass]) -> dict[int, list[_Branch]]:
    """Return the branches by the layer of their first edit."""
    trunks = [each for each in passes if each.branch_of is None]
    found: dict[int, list[_Branch]] = defaultdict(list)
    for each, kept in zip(passes, own_places(passes), strict=True):
        layers = [first_block_of(edit) for edit in each.edits]
        if each.branch_of is None:
            continue
        if each.branch_of not in trunks:
            raise ValueError("A branch's parent has to be among the passes of its sweep.")
        found[min(layers)].append(_Branch(each, trunks.index(each.branch_of), kept))
    return found


def _arena_on_disk(model: LoadedModel, n_states: int) -> ArenaOnDisk | None:
    """Return room for so many states, those on their way included, where memory has none."""
    if model.device.type != "cpu":
        return None  # they are in the accelerator's memory, and the readout wants them there
    allowed = model.residency.bytes_for_states
    size = n_states * model.output_head.weight.shape[1] * model.dtype.itemsize
    return None if allowed is None or size <= allowed else ArenaOnDisk(size + _FOR_FILLING_UP)


def _alone(_: Segment) -> int:
    return 1


def _largest_batch(segment: Segment) -> int:
    """Return how many segments like this one may run side by side."""
    attended = segment.start + len(segment.ids) if segment.start else 0
    return max(1, min(_TOKENS_AT_ONCE // len(segment.ids), _ATTENDED_AT_ONCE // max(1, attended)))
