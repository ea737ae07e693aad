"""Attribution patching: whole patch grids from one pass forwards and one back.

To first order, a source's values at a site move the effect by its gradient there, in the run that is patched, times
how far they are from the run's own (Nanda 2023, "Attribution Patching: Activation Patching At Industrial Scale"; Syed,
Rager and Conmy 2023, arXiv:2310.10348). What that leaves out, some cells that are run exactly tell.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.edits import Edit
from layerwise.capture.site_gradients import site_gradients
from layerwise.causal.draws import Draw, DrawFound, ExactCell
from layerwise.causal.outcomes import run_cells
from layerwise.causal.planning import GridPlan
from layerwise.causal.prompt_pair import PromptPair
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.output_head.output_head import OutputHead
from layerwise.models.weights.matrix import slices_of
from layerwise.sites import Site
from layerwise.types import Progress


class Attribution:
    """Approximates the grids of one pair of prompts, draw by draw."""

    def __init__(
        self, model: LoadedModel, pair: PromptPair, sites: Sequence[Site], exact_cells: int, seed: int
    ) -> None:
        """Take what is asked.

        Args:
            model: the model to run.
            pair: both prompts.
            sites: all that are patched.
            exact_cells: how many cells of each grid are run.
            seed: which ones.
        """
        self._model, self._pair, self._sites, self._exact_cells, self._seed = model, pair, sites, exact_cells, seed

        self._samples: list[dict[tuple[int, int], float]] = []
        """By plan, which cells are run: those of the first draw, in all."""
        self._run: tuple[tuple[int, ...], tuple[Edit, ...]] | None = None
        self._gradients: dict[str, Tensor] = {}
        """Of that run: where noise is put into the clean run, all draws have the same."""

    def _of(self, draw: Draw, progress: Progress | None) -> dict[str, Tensor]:
        if self._run != (draw.ids, draw.edits):
            self._run = draw.ids, draw.edits
            self._gradients = site_gradients(
                self._model, draw.ids, self._sites, self._of_last, embedded=draw.edits, progress=progress
            )
        return self._gradients

    def _of_last(self, states: Float[Tensor, "row d_model"]) -> Float[Tensor, "row d_model"]:
        against = self._pair.against
        return gradient_of_effect(self._model.output_head, states, self._pair.answer.id, against and against.id)

    def run(self, draw: Draw, plans: Sequence[GridPlan], progress: Progress | None) -> DrawFound:
        """Return a draw's grids, of the effect alone, and what some of their cells say exactly."""
        gradients = self._of(draw, progress)
        [values] = draw.put
        moved = [attributed(plan, gradients, draw.own, values) for plan in plans]
        if not self._samples:
            self._samples = [
                plan.sample(grid, self._exact_cells, self._seed) for plan, grid in zip(plans, moved, strict=True)
            ]
        pairs = zip(plans, self._samples, strict=True)
        read = run_cells(
            self._model,
            draw.ids,
            [plan.cell(place, values) for plan, sample in pairs for place in sample],
            draw.last,
            (self._pair.answer, self._pair.against),
            embedded=draw.edits,
            only_effect=True,
            progress=progress,
        )
        effect = self._pair.effect
        ran = iter(read.of_cells[effect].tolist())
        exact = [
            [ExactCell(place, stands_for, next(ran)) for place, stands_for in sample.items()]
            for sample in self._samples
        ]
        grids = [{effect: read.of_text[effect] + grid} for grid in moved]
        return DrawFound(read.unpatched, read.source, [grids], exact)


def attributed(
    plan: GridPlan, gradients: Mapping[str, Tensor], own: Mapping[str, Tensor], source: Mapping[str, Tensor]
) -> Float[np.ndarray, "row column"]:
    """Return how far each cell moves the effect to first order: its gradient · (source − own), summed over the cell."""
    mine, theirs = (list(each) for each in zip(*plan.changed, strict=True))
    at = {column: index for index, column in enumerate(plan.columns)}
    grid = np.zeros((len(plan.sites), len(plan.columns)))
    for row, site in enumerate(map(str, plan.sites)):
        moved = (source[site][theirs] - own[site][mine]).double()
        worth = (gradients[site][mine].double() * moved).sum(-1).numpy()  # [position], or [position, head]
        if plan.of_heads:
            grid[row] = worth.sum(axis=0)
        else:
            grid[row, [at[position] for position in mine]] = worth
    return grid


@torch.no_grad()
def gradient_of_effect(
    head: OutputHead, states: Float[Tensor, "row d_model"], answer: int, against: int | None
) -> Float[Tensor, "row d_model"]:
    """Return the gradient, at last states, of the answer's logit minus another's, or of the answer's log-probability.

    Args:
        head: of the model.
        states: what the final norm takes.
        answer: id of the answer's deciding token.
        against: of the other answer's, if there is one.
    """
    normed = head.normed(states)
    if against is None:
        read, logits = head, head.logits(normed)
        of_logits = -logits.softmax(-1)
        of_logits[:, answer] += 1
    else:
        read = head.of_tokens([answer, against])
        logits = read.logits(normed)
        of_logits = torch.tensor([1.0, -1.0], device=logits.device).expand_as(logits)
    of_logits = of_logits * head.transform.slope(logits)
    of_normed = torch.zeros_like(normed)
    for tokens, rows in slices_of(read.weight):
        of_normed += of_logits[:, tokens] @ rows.to(normed)
    with torch.enable_grad():
        entering = states.detach().float().requires_grad_(True)
        [found] = torch.autograd.grad(head.final_norm(entering), entering, of_normed)
    return found.to(states)
