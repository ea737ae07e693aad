"""Cells: one text run again and again, each time with other edits, and only where these change something."""

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.capture.block_calls import record_block_calls
from layerwise.capture.edits import Edit, apply_, edited_rows, first_block_of
from layerwise.capture.row_calls import RowCall, record_row_calls
from layerwise.capture.shared_beginnings import can_share, is_as_made, keys_before, segment_cache
from layerwise.errors import PromptError
from layerwise.models.loading.loaded import LoadedModel
from layerwise.types import Progress

_TOKENS_AT_ONCE = 1024
"""Rows run in groups of so many tokens: products are as fast as they get, and activations take some tens of MB."""


@dataclass(frozen=True)
class Cell:
    """Edits of the text that are made together."""

    edits: tuple[Edit, ...]
    start: int = 0
    """Position before which they change nothing."""


@dataclass
class _Group:
    """Cells that begin at one position, each on its way up from its first edit on."""

    start: int
    calls: list[RowCall]
    waiting: list[tuple[int, int]]
    """The layer at which a cell leaves the text as it is, and which it is; the last to leave first."""
    hidden: Float[Tensor, "row position d_model"]
    rows: list[int] = field(default_factory=list)
    """Which cell each row is."""


class Cells:
    """Cells on their way up through the blocks, beside the text as it is (a `BlockRunner`).

    Up to the layer of its first edit a cell is the text, and so it is at all positions before: it joins those that run
    at that layer, and runs from the position on that its edits change, with the keys and values of what stands before.
    So a grid of layers and positions takes one pass through the blocks, of a batch that grows. Where a model's blocks
    know of earlier tokens by more than keys and values, cells run whole.
    """

    def __init__(
        self,
        model: LoadedModel,
        ids: tuple[int, ...],
        cells: Sequence[Cell],
        progress: Progress | None = None,
        *,
        embedded: Sequence[Edit] = (),
    ) -> None:
        """Stand at layer 0.

        Args:
            model: the model to run.
            ids: the text.
            cells: edits of it, and where each begins.
            progress: told how many blocks are done.
            embedded: edits of layer 0 that the text has itself, and with it every cell.

        Raises:
            PromptError: a cell begins outside the text.
            ValueError: the text's own edits are not all of layer 0.
        """
        if any(edit.site.layer != 0 for edit in embedded):
            raise ValueError("A text has edits of its own at layer 0 only: cells join it later.")
        if outside := [cell.start for cell in cells if not 0 <= cell.start < len(ids)]:
            raise PromptError(f"Edits begin at position {outside[0]}; expected 0 to {len(ids) - 1}.")
        self._model, self._cells, self._progress = model, cells, progress
        alike = can_share(model.parts, model.hf.config) and is_as_made(model.hf)
        can_begin_later = alike and not model.rope_of(len(ids))
        tokens = torch.tensor(ids, device=model.device)
        beginning = segment_cache(model.n_layers, 0, [], held=True) if can_begin_later else None
        self._keys: list[Any] = [*beginning.layers] if beginning else []
        self._text, self._calls = record_block_calls(model, tokens[None], beginning)
        self._text = self._text.clone()  # it may be the model's own
        for edit in embedded:
            apply_(edit, self._text[0])
        by_start: dict[int, list[int]] = defaultdict(list)
        for index, cell in enumerate(cells):
            by_start[cell.start if can_begin_later else 0].append(index)
        self._groups = []
        for start, indices in sorted(by_start.items()):
            before = partial(keys_before, beginning, start) if beginning else lambda: None
            _, calls = record_row_calls(model, tokens[start:], before)
            waiting = sorted(((self._first_layer(index), index) for index in indices), reverse=True)
            none = self._text.new_empty(0, len(ids) - start, self._text.shape[-1])
            self._groups.append(_Group(start, calls, waiting, none))
        self._arrive(0)

    @property
    def last(self) -> Float[Tensor, "cell d_model"]:
        """What the last layer has at the last position of each cell, once all blocks have run."""
        found = self._text[:, -1].repeat(len(self._cells), 1)
        for group in self._groups:
            found[group.rows] = group.hidden[:, -1]
        return found

    @property
    def last_of_text(self) -> Float[Tensor, " d_model"]:
        """The same of the text as it is."""
        return self._text[0, -1]

    @torch.no_grad()
    def run_block(self, index: int, block: nn.Module) -> None:
        """Take the text and all cells that have left it through a block, which has its weights now."""
        self._text = self._calls[index](block, self._text)
        for group in self._groups:
            at_once = max(1, _TOKENS_AT_ONCE // group.hidden.shape[1])
            for first in range(0, len(group.rows), at_once):
                some = slice(first, first + at_once)
                with self._edited(index, group, some):
                    group.hidden[some] = group.calls[index](block, group.hidden[some])
        if self._keys:
            self._keys[index].keys = self._keys[index].values = None
        self._arrive(index + 1)

    def _first_layer(self, index: int) -> int:
        return min(first_block_of(edit) for edit in self._cells[index].edits)

    @torch.no_grad()
    def _arrive(self, layer: int) -> None:
        """Be at a layer: cells leave the text, and the stream is edited."""
        for group in self._groups:
            while group.waiting and group.waiting[-1][0] == layer:
                group.rows.append(group.waiting.pop()[1])
            new = len(group.rows) - len(group.hidden)
            if new:
                group.hidden = torch.cat([group.hidden, self._text[:, group.start :].expand(new, -1, -1)])
            for row, cell in enumerate(group.rows):
                for edit in self._cells[cell].edits:
                    if edit.site.layer == layer:
                        apply_(edit, group.hidden[row], group.start)
        if self._progress:
            self._progress("running the model", layer, self._model.n_layers)

    def _edited(self, index: int, group: _Group, some: slice) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the edits of some rows inside a block are made."""
        length = group.hidden.shape[1]
        edits = [(row, length, edit) for row, cell in enumerate(group.rows[some]) for edit in self._cells[cell].edits]
        return edited_rows(edits, index, self._model.anatomy, group.start)
