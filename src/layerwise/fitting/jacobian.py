"""The Jacobian lens: the mean, over texts and positions, of what the last layer's states owe to earlier ones.

Gurnee et al. (2026), "Verbalizable Representations Form a Global Workspace in Language Models". Of one text:
J_k = mean over t in V of Σ over t' ≥ t in V of ∂h_n[t'] / ∂h_k[t], where V leaves out the first positions, whose states
are unlike all others, and the last, which predicts no token of the text. h_n is the last block's output, before the
final norm.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.capture.backward import KeptInputs, Rules, no_rules
from layerwise.capture.loop import noticing_others_beside
from layerwise.errors import LensError
from layerwise.fitting.plan import LENGTH
from layerwise.fitting.sums import Sums, room_for_fit, zero_sums
from layerwise.lenses.fitted import Translator
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.machine.arena import ArenaOnDisk
from layerwise.models.machine.precision import PRECISIONS, matmul_precision
from layerwise.models.residency.residency import Resident
from layerwise.text import one_line
from layerwise.types import Progress

SKIPPED = 16
"""Positions at the beginning of a text that are left out, as the reference does."""

_TOKENS_AT_ONCE = 512
"""Of copies of a text: a block's products are as fast as they get."""

_ATTENDED_AT_ONCE = 2048
"""Positions of all copies, with those that are left out: their keys and values are held for each."""

_COTANGENTS_BYTES = 64 << 20
"""Cotangents that go down through a resident model together: a block is run forward once for so many."""

_STATES_IN_A_GRAPH = 40
"""What a block's graph keeps, in states of d_model numbers: of an MLP four times as wide some dozens."""

_MEASURED = 2
"""How many times a step is measured."""


class JacobianSums:
    """Sums of Jacobians over texts, one matrix per layer."""

    def __init__(
        self,
        model: LoadedModel,
        layers: Sequence[int] | None = None,
        *,
        length: int = LENGTH,
        skipped: int = SKIPPED,
        precision: str = "highest",
        rules: Rules = no_rules,
    ) -> None:
        """Begin with no texts.

        Args:
            model: the model to read.
            layers: those that a matrix is wanted for; by default 0 to n - 1.
            length: tokens of each text.
            skipped: positions at the beginning of each text that are left out.
            precision: how exactly float32 is multiplied on the way back, by PyTorch's names; the way up is exact.
            rules: how gradients go back through a block (`r_rules` for the R lens).

        Raises:
            LensError: texts of this length have no position between those that are left out, or there is no such
                precision.
        """
        if precision not in PRECISIONS:
            raise LensError(
                f"Expected precision as one of {', '.join(PRECISIONS)}; got {one_line(repr(precision), 60)}."
            )
        if length < skipped + 2:
            raise LensError(
                f"A Jacobian lens leaves out the first {skipped} positions of a text and the last one, and nothing is "
                f"left of {length} tokens. Fit it on windows of at least {skipped + 2}; 128 are usual."
            )
        self._model, self._skipped, self._precision, self._rules = model, skipped, precision, rules
        self._positions = length - 1 - skipped
        self._layers = sorted(range(model.n_layers) if layers is None else layers)
        self._d_model = model.output_head.weight.shape[1]
        square = (self._d_model, self._d_model)
        layout: dict[str, tuple[tuple[int, ...], torch.dtype]] = {"texts": ((), torch.int64)}
        layout |= {_name(layer): (square, torch.float32) for layer in self._layers}
        self.sums = zero_sums(model, layout)

    @property
    def bytes_of_a_text(self) -> int:
        """About how much memory a text takes on its way: inputs, cotangents, and a block's graph."""
        state = self._d_model * self._model.dtype.itemsize
        states, all_down = self._positions * state, self._d_model * self._positions * state
        if self._is_resident:
            cotangents = min(all_down, max(states, _COTANGENTS_BYTES))
        else:
            cotangents = all_down if self._fits(all_down) else 0
        graph = _STATES_IN_A_GRAPH * max(states, _TOKENS_AT_ONCE * state)
        return (self._model.n_layers + 1) * states + cotangents + graph

    @torch.no_grad()
    def add(self, windows: Int[Tensor, "text position"], progress: Progress | None = None) -> None:
        """Add some texts, one after another: copies of one go down side by side as fast as several texts do.

        Raises:
            UnsupportedModelError: the model's blocks have no such Jacobian.
        """
        for done, text in enumerate(windows.split(1)):
            self._add(
                text[:, :-1], progress and _later(progress, done, len(windows))
            )  # the last position has no influence on those before it

    @torch.no_grad()
    def seconds_per_text(self, windows: Int[Tensor, "text position"]) -> float:
        """Return about how long each text takes, from some blocks that some cotangents go through."""
        text = windows[:1, :-1]
        began = time.perf_counter()
        kept, copies = self._kept(text)
        upwards = time.perf_counter() - began
        some = kept.last.new_ones(copies, *kept.last.shape)
        steps, chunks = -(-self._d_model // copies), -(-self._d_model // self._rows_at_once(kept.last))
        measured = []
        for index in {self._layers[0], (self._layers[0] + self._model.n_layers) // 2, self._model.n_layers - 1}:
            with self._model.residency.filled(index, then=-1) as block:
                began = time.perf_counter()
                with kept.linearised(index, block) as linear, matmul_precision(self._precision):
                    linear.pull_back_(some)
                    forward = time.perf_counter()
                    for _ in range(_MEASURED):
                        linear.pull_back_(some)
                    done = time.perf_counter()
            measured.append(chunks * (forward - began) + steps * (done - forward) / _MEASURED)
        return upwards + statistics.mean(measured) * (self._model.n_layers - self._layers[0])

    @property
    def _is_resident(self) -> bool:
        return isinstance(self._model.residency, Resident)

    def _kept(self, text: Int[Tensor, "one position"]) -> tuple[KeptInputs, int]:
        """Return a text that went up, and how many copies of it go down side by side."""
        copies = max(1, min(_TOKENS_AT_ONCE // self._positions, _ATTENDED_AT_ONCE // text.shape[1]))
        return KeptInputs(self._model, text, self._skipped, copies=copies, rules=self._rules), copies

    def _add(self, text: Int[Tensor, "one position"], progress: Progress | None) -> None:
        """Add a text."""
        kept, copies = self._kept(text)
        room, release = self._room(kept.last)
        for start in range(0, self._d_model, len(room)):
            rows = slice(start, min(start + len(room), self._d_model))
            cotangents = _put_unit_vectors(room[: rows.stop - start], start, release)
            self._go_down(kept, cotangents, rows, copies, release, progress)
        with self.sums.changed("texts") as count:
            count.add_(1)

    def _go_down(
        self,
        kept: KeptInputs,
        cotangents: Float[Tensor, "row one position d_model"],
        rows: slice,
        copies: int,
        release: Callable[[], None],
        progress: Progress | None,
    ) -> None:
        """Take the rows' cotangents from layer n to the lowest layer that is wanted."""
        lowest, n_layers = self._layers[0], self._model.n_layers
        of_each_row = n_layers - lowest
        for index in reversed(range(lowest, n_layers)):
            wanted = self.sums.changed(_name(index)) if index in self._layers else contextlib.nullcontext()
            with (
                wanted as sums,
                noticing_others_beside(self._model),
                self._model.residency.filled(index, then=index - 1) as block,
                kept.linearised(index, block) as linear,
                matmul_precision(self._precision),
            ):
                for start in range(0, len(cotangents), copies):
                    some = cotangents[start : start + copies]
                    linear.pull_back_(some)
                    if sums is not None:
                        first = rows.start + start
                        sums[first : first + len(some)] += some.float().sum(dim=(1, 2)).cpu() / self._positions
                    release()
                    if progress:
                        done = rows.start * of_each_row + (n_layers - 1 - index) * len(cotangents) + start + len(some)
                        progress("differentiating", done, self._d_model * of_each_row)

    def _rows_at_once(self, last: Float[Tensor, "one position d_model"]) -> int:
        """Return how many cotangents go down together: of a streamed model all, for its weights are read each time."""
        one = last.numel() * last.dtype.itemsize
        return min(self._d_model, max(1, _COTANGENTS_BYTES // one)) if self._is_resident else self._d_model

    def _room(
        self, last: Float[Tensor, "one position d_model"]
    ) -> tuple[Float[Tensor, "row one position d_model"], Callable[[], None]]:
        """Return where cotangents lie that go down together, and what gives back memory if that is on disk."""
        shape = (self._rows_at_once(last), *last.shape)
        size = shape[0] * last.numel() * last.dtype.itemsize
        if self._is_resident or self._fits(size):
            return last.new_empty(shape, device=last.device if self._is_resident else "cpu"), lambda: None
        arena = ArenaOnDisk(size, "Cotangents", "Fit on texts of a smaller --length")
        return arena.take(shape, last.dtype), arena.release

    def _fits(self, size: int) -> bool:
        """Return whether so many bytes of a streamed model's cotangents may lie in memory; else they lie on disk."""
        room = room_for_fit(self._model)
        return room is None or size <= room

    def translators(self) -> Mapping[int, Translator]:
        """Return the mean over the texts."""
        return _Means(self.sums, self._layers)


class _Means(Mapping[int, Translator]):
    """Means over texts, each of which is taken when it is asked for: sums may be on disk."""

    def __init__(self, sums: Sums, layers: Sequence[int]) -> None:
        self._sums, self._layers, self._count = sums, layers, max(1, int(sums["texts"]))

    def __getitem__(self, layer: int) -> Translator:
        if layer not in self._layers:
            raise KeyError(layer)
        return Translator(self._sums[_name(layer)] / self._count)

    def __iter__(self) -> Iterator[int]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)


def _name(layer: int) -> str:
    return f"layer.{layer}"


def _later(progress: Progress, texts: int, of_texts: int) -> Progress:
    """Return who is told of one text's steps, in steps of all texts."""
    return lambda what, done, steps: progress(what, texts * (steps or 0) + done, of_texts * (steps or 0))


def _put_unit_vectors(
    cotangents: Float[Tensor, "row one position d_model"], first: int, release: Callable[[], None]
) -> Float[Tensor, "row one position d_model"]:
    """Make cotangent i, at every position, the unit vector along dimension first + i, and return them."""
    for row, cotangent in enumerate(cotangents):
        cotangent.zero_()
        cotangent[..., first + row] = 1
        release()
    return cotangents
