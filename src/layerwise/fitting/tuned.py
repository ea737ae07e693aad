"""Tuned lenses: translators that gradient descent brings close to the output, by KL(output ‖ lens).

Belrose et al. (2023), arXiv:2303.08112. Departures: it starts from ridge, steps are taken in coordinates in which a
layer's states are uncorrelated (plain ones differ in size by orders of magnitude, and descent would crawl), and the
output head is asked about the tokens that matter and a sample of the rest (`kl_gradient`). Which step's translators
are kept is decided for each layer by exact figures on held-out text.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.loop import drive
from layerwise.capture.sweep import Sweep
from layerwise.errors import LensError
from layerwise.fitting.checkpoint_clock import CheckpointClock
from layerwise.fitting.descent import Descent, Start
from layerwise.fitting.estimate import Estimate
from layerwise.fitting.held_out import HeldOut
from layerwise.fitting.kl_gradient import Columns, kl_gradient, take_columns
from layerwise.fitting.plan import FitPlan
from layerwise.fitting.ridge import FIRST, PENALTY, RidgeEstimator
from layerwise.fitting.sums_folder import Progressed, expect_same_fit, read_state, read_tensors, save_tensors
from layerwise.fitting.text.windows import FitText, Windows
from layerwise.lens_spec import TUNED
from layerwise.lenses.fitted import FittedLens, LowRankTranslator, Translator
from layerwise.models.loading.loaded import LoadedModel
from layerwise.types import Progress

OPTIONS: dict[str, Any] = {
    "start": "ridge",
    "steps": 300,
    "places": 128,
    "rate": 3e-4,
    "rank": 0,
    "samples": 8192,
    "columns": 4096,
}
"""Settings by default. `start`: ``ridge`` or ``identity``. `places`: positions of one step, all layers at each.
`rate`: of Adam at the first step; it falls to zero along a straight line. `rank`: of what is added to the start, 0 for
all. `samples`: positions of the text that are used. `columns`: tokens that a step looks at, of a larger vocabulary."""

_LARGE = 4096
"""Widths from which on the start is the identity and the rank low, if nothing else is asked for: second moments of all
layers would take more memory than the model."""
_LOW_RANK = 256
_SHARE_DRAWN = 4
"""One of so many columns is drawn anew at each step, from the tokens that are not among the probable ones."""
_BETWEEN_LOOKS = 50
"""Steps between exact figures on held-out text."""
_PLACES_LOOKED_AT = 64
_PATIENCE = 3
"""Looks without any layer improving after which descent ends."""
_FILE = "descent.safetensors"


def default_options(d_model: int) -> dict[str, Any]:
    """Return the settings by default for a model of some width."""
    return OPTIONS if d_model < _LARGE else {**OPTIONS, "start": "identity", "rank": _LOW_RANK}


@dataclass(frozen=True, eq=False)
class Samples:
    """States at positions of the text, and what the output says there."""

    states: Float[Tensor, "layer place d_model"]
    """Of the layers that are fitted."""
    output: Float[Tensor, "place d_model"]
    """What the output head is given there."""
    output_lse: Float[Tensor, " place"]
    mass: Float[Tensor, " token"]
    """The output's mean probabilities."""


@dataclass(eq=False)
class Tuning:
    """A tuned lens's fit."""

    model: LoadedModel
    plan: FitPlan
    text: FitText
    key: dict[str, Any]
    """All that determines the numbers: what a checkpoint with another key is not of."""
    batch: int
    """Windows that are run together."""

    @property
    def judged_on(self) -> Windows:
        """What the lens's figures are taken on: every second window that is held out, or the only one."""
        return self.text.held_out.shard(0, 2)

    @cached_property
    def chosen_on(self) -> HeldOut:
        """By what is decided which translators are kept: the other windows that are held out."""
        ids = self.text.held_out.ids
        return HeldOut(self.model, ids[1::2] if len(ids) > 1 else ids, self.plan.seed, most=_PLACES_LOOKED_AT)

    def carry_out(
        self,
        partial: Path | None,
        *,
        progress: Progress | None = None,
        on_estimate: Callable[[Estimate], None] | None = None,
    ) -> dict[int, Translator | LowRankTranslator]:
        """Return the translators.

        Raises:
            LensError: the folder of checkpoints holds another fit's.
            StoreError: a checkpoint cannot be written.
        """
        if self.plan.options["start"] not in ("ridge", "identity"):
            raise LensError(f"start is ridge or identity; got {self.plan.options['start']!r}.")
        if partial and partial.exists():
            expect_same_fit(partial, read_state(partial).key, self.key)
        samples, start = self._gathered(progress)
        descent = Descent(start, self.plan.options["rank"], self.plan.seed)
        first = self._resumed(descent, partial)
        choose = _Chooser(self, samples, start, descent)
        steps = self.plan.options["steps"]
        began, clock = time.monotonic(), CheckpointClock()
        for number in range(first + 1, steps + 1):
            if (number - 1) % _BETWEEN_LOOKS == 0:
                self._look(descent)
                if int(descent.since_best) >= _PATIENCE:
                    break
            self._step(samples, descent, choose.columns(number), number)
            if number == first + 3 and on_estimate:
                on_estimate(self._estimate((time.monotonic() - began) / 3 * (steps - number), samples, descent))
            if progress:
                progress("descending", number, steps)
            if partial and clock.is_due():
                progressed = Progressed(self.key, self.batch, (number,))
                clock.write(lambda p=partial, at=progressed: save_tensors(p, at, {_FILE: descent.state()}))
        self._look(descent)
        return descent.translators(self.plan.layers, descent.best)

    def _resumed(self, descent: Descent, partial: Path | None) -> int:
        """Return how many steps were taken before."""
        if partial is None or not partial.exists():
            return 0
        [state] = read_tensors(partial, [_FILE])
        descent.restore(state)
        return read_state(partial).done[0]

    def _look(self, descent: Descent) -> None:
        lens = FittedLens(TUNED, descent.translators(self.plan.layers, descent.parameters))
        descent.keep_if_better(self.chosen_on.kl_bits(lens, self.plan.layers))

    def _step(self, samples: Samples, descent: Descent, columns: Columns, number: int) -> None:
        options = self.plan.options
        draw = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + number)
        some = torch.randint(len(samples.output), (options["places"],), generator=draw)
        translated, x = descent.apply(samples.states[:, some].float())
        with torch.enable_grad():
            translated.requires_grad_()
            normed = self.model.output_head.final_norm(translated)
        _, of_normed = kl_gradient(normed.detach(), samples.output[some], samples.output_lse[some], columns)
        [of_translated] = torch.autograd.grad(normed, translated, of_normed)
        rate = options["rate"] * (1 - (number - 1) / options["steps"])
        descent.step(descent.gradients(x, of_translated), rate, number)

    def _estimate(self, seconds: float, samples: Samples, descent: Descent) -> Estimate:
        state = sum(values.numel() * values.element_size() for values in descent.state().values())
        taken = samples.states.numel() * samples.states.element_size()
        return Estimate(seconds, taken + 2 * state, state, may_stop_early=True)

    def _gathered(self, progress: Progress | None) -> tuple[Samples, Start]:
        """Run the text through the model once: samples of states, and where descent begins."""
        options, layers, model = self.plan.options, list(self.plan.layers), self.model
        ridge = RidgeEstimator(model, layers, penalty=PENALTY) if options["start"] == "ridge" else None
        ids = torch.cat([half.ids for half in self.text.halves])
        places = tuple(range(FIRST, ids.shape[1]))
        per_window = min(len(places), -(-options["samples"] // len(ids)))
        draw = torch.Generator().manual_seed(self.plan.seed)
        states, last = [], []
        for first in range(0, len(ids), self.batch):
            windows = ids[first : first + self.batch]
            sweep = Sweep(model, [ForwardPass(tuple(row), places) for row in windows.tolist()])
            drive(model, [sweep])
            if ridge:
                ridge.add_states(sweep.states)
            kept = torch.cat(
                [
                    torch.randperm(len(places), generator=draw)[:per_window] + i * len(places)
                    for i in range(len(windows))
                ]
            )
            states.append(sweep.states[kept][:, layers].transpose(0, 1).contiguous())
            last.append(sweep.states[kept, -1].float())
            if progress:
                progress("gathering states", first + len(windows), len(ids))
        at_layers, final = torch.cat(states, dim=1), torch.cat(last)
        return self._with_output(at_layers, final), _start(ridge, at_layers, final, layers)

    def _with_output(self, states: Tensor, final: Tensor) -> Samples:
        head = self.model.output_head
        output = head.normed(final)
        lse, mass = [], torch.zeros(head.vocab_size, device=output.device)
        for some in output.split(64):
            logits = head.logits(some)
            lse.append(logits.logsumexp(-1))
            mass += (logits - lse[-1][:, None]).exp_().sum(0)
        return Samples(states, output, torch.cat(lse), mass / len(output))


class _Chooser:
    """Chooses the tokens that a step looks at."""

    def __init__(self, tuning: Tuning, samples: Samples, start: Start, descent: Descent) -> None:
        self._head, self._seed = tuning.model.output_head, tuning.plan.seed
        wanted, vocab = tuning.plan.options["columns"], self._head.vocab_size
        self._drawn = 0 if wanted >= vocab else max(1, wanted // _SHARE_DRAWN)
        probable = min(wanted, vocab) - self._drawn
        mass = samples.mass + (_mass_of_start(self._head, samples, start) if self._drawn else 0)
        order = mass.argsort(descending=True, stable=True)
        self._probable, self._others = order[:probable].sort().values, order[probable:].sort().values
        self._fixed = take_columns(self._head, self._probable, torch.ones(len(self._probable), device=mass.device))

    def columns(self, number: int) -> Columns:
        """Return the tokens of a step."""
        if not self._drawn:
            return self._fixed
        draw = torch.Generator().manual_seed(self._seed * 1_000_003 + number)
        some = torch.randint(len(self._others), (self._drawn,), generator=draw).to(self._others.device)
        stands_for = torch.full((self._drawn,), len(self._others) / self._drawn, device=self._others.device)
        drawn = take_columns(self._head, self._others[some], stands_for)
        fixed = self._fixed
        bias = None if fixed.bias is None or drawn.bias is None else torch.cat([fixed.bias, drawn.bias])
        return Columns(
            torch.cat([fixed.weight, drawn.weight]),
            bias,
            torch.cat([fixed.log_stands_for, drawn.log_stands_for]),
            fixed.transform,
        )


def _mass_of_start(head: Any, samples: Samples, start: Start) -> Float[Tensor, " token"]:
    """Return mean probabilities of what the start reads, of a few positions at all layers."""
    normed = head.normed(start.read(samples.states[:, :16].float())).flatten(0, 1)
    mass = torch.zeros(head.vocab_size, device=normed.device)
    for some in normed.split(64):
        mass += head.logits(some).softmax(-1).sum(0)
    return mass / len(normed)


def _start(ridge: RidgeEstimator | None, states: Tensor, final: Tensor, layers: Sequence[int]) -> Start:
    size = final.std(0).clamp_min(1e-6 * float(final.std()))
    if ridge is None:
        mean = torch.stack([each.float().mean(0) for each in states])
        spread = torch.stack([each.float().std(0) for each in states])
        return Start(None, torch.zeros_like(mean), mean, 1 / spread.clamp_min(1e-6 * float(spread.max())), size)
    found, means, whitenings = ridge.translators(), [], []
    for layer in layers:
        mean, covariance = ridge.covariance(layer)
        root = torch.linalg.cholesky(covariance)
        eye = torch.eye(len(mean), dtype=root.dtype, device=root.device)
        whitenings.append(torch.linalg.solve_triangular(root, eye, upper=False).float())
        means.append(mean.float())
    biases = [each.bias for each in found.values() if each.bias is not None]
    return Start(
        torch.stack([each.matrix for each in found.values()]).to(final.device),
        torch.stack(biases).to(final.device),
        torch.stack(means).to(final.device),
        torch.stack(whitenings).to(final.device),
        size,
    )
