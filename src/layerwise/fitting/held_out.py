"""How a lens does on text that it was not fitted on, by layer, beside the logit lens."""

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.loop import drive
from layerwise.capture.sweep import Sweep
from layerwise.fitting.figures import Figures
from layerwise.lens_spec import LOGIT
from layerwise.models.loading.loaded import LoadedModel
from layerwise.readout.kernel import read_out
from layerwise.readout.lenses import Lens, resolve_lens
from layerwise.readout.readout import BITS, Readout
from layerwise.types import Progress

_LOGITS = 1 << 24
"""Logits by which a layer is judged: fewer positions where the vocabulary is large."""
_FEWEST, _MOST = 64, 192
_COMPARED = 64
"""Positions at which halves are compared, more than once while a lens is fitted."""
_FIRST = 1
"""Position from which on they are drawn. Position 0 is an attention sink, and its prediction nobody reads."""


class HeldOut:
    """States at some positions of held-out windows."""

    def __init__(
        self, model: LoadedModel, windows: Int[Tensor, "window position"], seed: int = 0, most: int = _MOST
    ) -> None:
        """Take windows, which are run through the model when their states are first needed.

        Args:
            model: what reads them.
            windows: at least one.
            seed: of the positions that are drawn.
            most: positions to draw at most; fewer of a model with a large vocabulary.
        """
        self._model, self._windows, self._seed, self._most = model, windows, seed, most

    @cached_property
    @torch.no_grad()
    def states(self) -> Float[Tensor, "place layer d_model"]:
        """Layers 0 to n, at positions that were drawn."""
        sweep = Sweep(self._model, self.passes)
        drive(self._model, [sweep])
        return sweep.states

    @property
    def passes(self) -> list[ForwardPass]:
        """The windows with the positions that were drawn, about as many of each."""
        wanted = min(self._most, max(_FEWEST, _LOGITS // self._model.output_head.vocab_size))
        draw = torch.Generator().manual_seed(self._seed)
        n_windows, length = self._windows.shape
        each = min(length - _FIRST, -(-wanted // n_windows))
        passes = []
        for ids in self._windows.tolist()[:wanted]:
            places = torch.randperm(length - _FIRST, generator=draw)[:each] + _FIRST
            passes.append(ForwardPass(tuple(ids), tuple(sorted(places.tolist()))))
        return passes

    def figures(self, lens: Lens, layers: Sequence[int], progress: Progress | None = None) -> Figures:
        """Return how a lens does at some layers."""
        chosen = list(layers)
        mean = _MeanDistribution()
        readout = self._read([resolve_lens(LOGIT.name), lens], chosen, progress, mean)
        n, kl = len(chosen), readout.kl_from_final_bits.double().mean(0).tolist()
        top = readout.top_ids[:, :, 0]
        agreement = (top == top[:, -1:]).double().mean(0).tolist()
        bias = mean.bias_bits()
        return Figures(
            tuple(chosen),
            len(top),
            kl[n : 2 * n],
            kl[:n],
            agreement[n : 2 * n],
            agreement[:n],
            bias[n : 2 * n],
            bias[:n],
        )

    def kl_bits(self, lens: Lens, layers: Sequence[int]) -> list[float]:
        """Return by layer the mean KL(output ‖ lens)."""
        readout = self._read([lens], list(layers))
        return readout.kl_from_final_bits.double().mean(0)[: len(layers)].tolist()

    def agreement(self, first: Lens, second: Lens, layers: Sequence[int]) -> list[float]:
        """Return by layer the share of positions where two lenses' likeliest tokens are the same."""
        top = self._read([first, second], list(layers), most=_COMPARED).top_ids[:, :, 0]
        n = len(layers)
        return (top[:, :n] == top[:, n : 2 * n]).double().mean(0).tolist()

    @torch.no_grad()
    def _read(
        self,
        lenses: list[Lens],
        layers: list[int],
        progress: Progress | None = None,
        mean: "_MeanDistribution | None" = None,
        most: int | None = None,
    ) -> Readout:
        """Read rows of each lens's layers, one lens's after another's, and the output's last."""
        head = self._model.output_head

        def rows(states: Tensor) -> Tensor:
            read = [lens.rows(states, head)[:, layers] for lens in lenses]
            return torch.cat([*read, head.normed(states[:, -1:])], dim=1)

        return read_out(
            self.states[:: -(-len(self.states) // (most or len(self.states)))],
            head,
            rows_of=rows,
            top_k=1,
            observe=mean and mean.add,
            progress=_renamed(progress),
        )


class _MeanDistribution:
    """The mean over places of each row's distribution."""

    def __init__(self) -> None:
        self._total: Float[Tensor, "row token"] | None = None

    def add(self, places: slice, logits: Float[Tensor, "some_places row token"], readout: Readout) -> None:
        """Take some places' logits."""
        for at_place in logits:
            probs = at_place.softmax(-1)
            self._total = probs if self._total is None else self._total.add_(probs)

    def bias_bits(self) -> list[float]:
        """Return by row KL(mean of the last row ‖ mean of the row)."""
        assert self._total is not None
        last = self._total[-1].double()
        last = (last / last.sum()).clamp_min(torch.finfo(torch.float32).tiny)
        found = []
        for row in self._total:
            mean = (row.double() / row.double().sum()).clamp_min(torch.finfo(torch.float32).tiny)
            found.append(float((last * (last.log() - mean.log())).sum() * BITS))
        return found


def _renamed(progress: Progress | None) -> Progress | None:
    return progress and (lambda _, done, total: progress("reading held-out text", done, total))
