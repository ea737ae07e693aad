"""The Jacobian lens: the mean, over texts and positions, of what the last layer's states owe to earlier ones.

Gurnee et al. (2026), "Verbalizable Representations Form a Global Workspace in Language Models". Of one text:
J_k = mean over t in V of Σ over t' ≥ t in V of ∂h_n[t'] / ∂h_k[t], where V leaves out the first positions, whose states
are unlike all others, and the last, which predicts no token of the text. h_n is the last block's output, before the
final norm.
"""

import contextlib
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.capture.backward import KeptInputs, Rules
from layerwise.lenses.fitted import Translator
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.machine.arena import ArenaOnDisk
from layerwise.models.residency.residency import Resident
from layerwise.types import Progress

SKIPPED = 16
"""Positions at the beginning of a text that are left out, as the reference does."""

_TOKENS_AT_ONCE = 512
"""Of texts, and of copies of them where they are few: a block's products are as fast as they get."""

_COTANGENTS_BYTES = 64 << 20
"""Cotangents that go down through a resident model together: a block is run forward once for so many."""


class JacobianSums:
    """Sums of Jacobians over texts, one matrix per layer."""

    def __init__(
        self,
        model: LoadedModel,
        layers: Sequence[int] | None = None,
        *,
        skipped: int = SKIPPED,
        rules: Rules = contextlib.nullcontext,
        progress: Progress | None = None,
    ) -> None:
        """Begin with no texts.

        Args:
            model: the model to read.
            layers: those that a matrix is wanted for; by default 0 to n - 1.
            skipped: positions at the beginning of each text that are left out.
            rules: how gradients go back through a block (`r_rules` for the R lens).
            progress: told how many of a batch's steps are done.
        """
        self._model, self._skipped, self._rules, self._progress = model, skipped, rules, progress
        self._layers = sorted(range(model.n_layers) if layers is None else layers)
        d_model = model.output_head.weight.shape[1]
        self._sums = {layer: torch.zeros(d_model, d_model) for layer in self._layers}
        self._count = 0
        self._release: Callable[[], None] = lambda: None

    def add(self, texts: Int[Tensor, "text position"]) -> None:
        """Add some texts of one length.

        Raises:
            ValueError: a text has no position between those that are left out.
            UnsupportedModelError: the model's blocks have no such Jacobian.
        """
        if texts.shape[1] < self._skipped + 2:
            raise ValueError(f"Texts of {texts.shape[1]} tokens have no position after {self._skipped} and a last one.")
        # The last position has no influence on those before it.
        for some in texts[:, :-1].split(max(1, _TOKENS_AT_ONCE // (texts.shape[1] - 1 - self._skipped))):
            self._add(some)

    def _add(self, texts: Int[Tensor, "text position"]) -> None:
        """Add texts that go through the blocks together."""
        copies = max(1, _TOKENS_AT_ONCE // (len(texts) * (texts.shape[1] - self._skipped)))
        kept = KeptInputs(self._model, texts, self._skipped, copies=copies, rules=self._rules)
        d_model = kept.last.shape[-1]
        room = self._room(kept.last)
        for start in range(0, d_model, len(room)):
            rows = slice(start, min(start + len(room), d_model))
            self._go_down(kept, _put_unit_vectors(room[: rows.stop - start], start), rows, copies)
        self._count += len(texts)

    def _go_down(
        self, kept: KeptInputs, cotangents: Float[Tensor, "row text position d_model"], rows: slice, copies: int
    ) -> None:
        """Take the rows' cotangents from layer n to the lowest layer that is wanted."""
        n_layers, n_positions, d_model = self._model.n_layers, *cotangents.shape[2:]
        for index in reversed(range(self._layers[0], n_layers)):
            sums = self._sums.get(index)
            with self._model.residency.filled(index, then=index - 1) as block, kept.linearised(index, block) as linear:
                for start in range(0, len(cotangents), copies):
                    some = cotangents[start : start + copies]
                    linear.pull_back_(some)
                    if sums is not None:
                        first = rows.start + start
                        sums[first : first + len(some)] += some.float().sum(dim=(1, 2)).cpu() / n_positions
                    self._release()
            if self._progress:
                done = rows.start * n_layers + (n_layers - index) * (rows.stop - rows.start)
                self._progress("differentiating", done, n_layers * d_model)

    def _room(self, last: Float[Tensor, "text position d_model"]) -> Float[Tensor, "row text position d_model"]:
        """Return memory for the cotangents that go down together.

        Of a streamed model that is all of them, on disk if memory has no room: its weights are read once for all.
        """
        one, d_model = last.numel() * last.dtype.itemsize, last.shape[-1]
        if isinstance(self._model.residency, Resident):
            return last.new_empty(min(d_model, max(1, _COTANGENTS_BYTES // one)), *last.shape)
        allowed = self._model.residency.bytes_for_states
        if allowed is None or d_model * one <= allowed:
            return last.new_empty(d_model, *last.shape, device="cpu")
        arena = ArenaOnDisk(d_model * one)
        self._release = arena.release
        return arena.take((d_model, *last.shape), last.dtype)

    def sums(self) -> dict[str, Tensor]:
        """Return all that was added up; sums of other texts can be added to it."""
        return {"texts": torch.tensor(self._count), **{f"layer.{k}": each for k, each in self._sums.items()}}

    def restore(self, sums: dict[str, Tensor]) -> None:
        """Go on from sums."""
        self._count = int(sums["texts"])
        self._sums = {layer: sums[f"layer.{layer}"].clone() for layer in self._layers}

    def translators(self) -> dict[int, Translator]:
        """Return the mean over the texts."""
        return {layer: Translator(each / self._count) for layer, each in self._sums.items()}


def _put_unit_vectors(
    cotangents: Float[Tensor, "row text position d_model"], first: int
) -> Float[Tensor, "row text position d_model"]:
    """Make cotangent i, at every text and position, the unit vector along dimension first + i, and return them."""
    cotangents.zero_()
    rows = torch.arange(len(cotangents), device=cotangents.device)
    cotangents[rows, :, :, first + rows] = 1
    return cotangents
