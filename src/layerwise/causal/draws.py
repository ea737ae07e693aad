"""Grids under each draw of noise, or the one there is without, and the draws joined."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.edits import Edit
from layerwise.causal.approximation import Approximation
from layerwise.causal.grid import PatchGrid, Patching, SubjectNoise
from layerwise.causal.outcomes import SURELY, Outcome, run_cells
from layerwise.causal.planning import GridPlan
from layerwise.causal.prompt_pair import PromptPair
from layerwise.errors import PromptError
from layerwise.models.loading.loaded import LoadedModel
from layerwise.types import Progress
from layerwise.versions import package_versions

Grids = list[dict[str, Float[np.ndarray, "row column"]]]
"""By plan and measure."""


@dataclass(frozen=True)
class Draw:
    """A run that is patched, and what is put into it."""

    ids: tuple[int, ...]
    edits: tuple[Edit, ...]
    """Noise on its embeddings, if it is the corrupted one."""
    own: Mapping[str, Tensor]
    """Its values by site, where they are needed: for a placebo, or an approximation."""
    put: Sequence[Mapping[str, Tensor]]
    """By site: the source's values; after them the placebo's, where one is wanted."""
    last: Float[Tensor, " d_model"]
    """The source's last state."""


@dataclass(frozen=True)
class ExactCell:
    """A cell of an approximate grid that was run."""

    place: tuple[int, int]
    """Row and column."""
    stands_for: float
    """So many cells."""
    effect: float


@dataclass(frozen=True)
class DrawFound:
    """What one draw's runs say."""

    unpatched: Outcome
    source: Outcome
    grids: list[Grids]
    """By what was put: the source's values, then the placebo's."""
    exact: Sequence[Sequence[ExactCell]] = ()
    """Where grids are approximate, by plan: some cells that were run."""


def run_exactly(
    model: LoadedModel,
    draw: Draw,
    plans: Sequence[GridPlan],
    pair: PromptPair,
    only_effect: bool,
    progress: Progress | None,
) -> DrawFound:
    """Run all cells, as many together as there is room for, and read what they say."""
    cells = [plan.cell(place, values) for values in draw.put for plan in plans for place in plan.places]
    read = run_cells(
        model,
        draw.ids,
        cells,
        draw.last,
        (pair.answer, pair.against),
        embedded=draw.edits,
        only_effect=only_effect,
        progress=progress,
    )
    of_cells = {name: iter(values) for name, values in read.of_cells.items()}

    def grid(plan: GridPlan) -> dict[str, np.ndarray]:
        count = len(plan.places)
        return {
            name: plan.filled(np.fromiter(values, float, count), read.of_text[name])
            for name, values in of_cells.items()
        }

    return DrawFound(read.unpatched, read.source, [[grid(plan) for plan in plans] for _ in draw.put])


def joined(
    model: LoadedModel,
    pair: PromptPair,
    plans: Sequence[GridPlan],
    found: Sequence[DrawFound],
    direction: str,
    noise: SubjectNoise | None,
) -> Patching:
    """Return grids of all draws: means, and how far the draws spread.

    Raises:
        PromptError: the grids are approximate, and there is nothing to recover that they could be judged by.
    """
    effect = pair.effect
    unpatched = [getattr(each.unpatched, effect) for each in found]
    between = [getattr(each.source, effect) - base for each, base in zip(found, unpatched, strict=True)]
    notes: list[str] = []
    if min(map(abs, between)) < SURELY:
        nothing = f"The two runs differ by {min(map(abs, between)):.1g} in {effect}: there is nothing to recover"
        if found[0].exact:
            raise PromptError(
                f"{nothing}, so nothing tells how good an approximation is. Run the exact grid, or give prompts that "
                "differ in what the answer goes by."
            )
        notes.append(f"{nothing}, and the recovery is left out.")

    def recovered(of_draws: Iterable[np.ndarray]) -> Float[np.ndarray, "draw ..."]:
        """Return how far the effect in each draw's cells has come from the unpatched run to the source."""
        wholes = [whole if abs(whole) >= SURELY else np.nan for whole in between]
        return np.stack([(each - base) / whole for each, base, whole in zip(of_draws, unpatched, wholes, strict=True)])

    grids: list[PatchGrid] = []
    for index, plan in enumerate(plans):
        of_patch = [each.grids[0][index] for each in found]
        of_draws = recovered(values[effect] for values in of_patch)
        approximation = None
        if cells := found[0].exact[index] if found[0].exact else None:
            places = tuple(cell.place for cell in cells)
            exact = recovered(np.array([cell.effect for cell in each.exact[index]]) for each in found)
            approximation = Approximation(
                cells=places,
                of=len(plan.places),
                stands_for=np.array([cell.stands_for for cell in cells]),
                approximate=of_draws.mean(axis=0)[tuple(np.array(places).T)],
                exact=exact.mean(axis=0),
            )
            notes += [f"{plan.kind}: {doubt}" for doubt in approximation.doubts]
        grids.append(
            PatchGrid(
                kind=plan.kind,
                blocks=plan.blocks,
                columns=plan.columns,
                of_heads=plan.of_heads,
                values={name: np.mean([values[name] for values in of_patch], axis=0) for name in of_patch[0]},
                recovery=of_draws.mean(axis=0),
                spread=of_draws.std(axis=0, ddof=1) if len(found) > 1 else None,
                placebo=recovered(each.grids[1][index][effect] for each in found).mean(axis=0)
                if len(found[0].grids) > 1
                else None,
                approximation=approximation,
            )
        )
    return Patching(
        model=model.info,
        direction=direction,
        effect=effect,
        clean=model.tokenizer.tokens(pair.clean),
        corrupted=model.tokenizer.tokens(pair.corrupted),
        alignment=pair.alignment,
        answer=pair.answer,
        against=pair.against,
        unpatched=Outcome.mean([each.unpatched for each in found]),
        source=Outcome.mean([each.source for each in found]),
        grids=tuple(grids),
        window=plans[0].window,
        noise=noise,
        versions=package_versions(),
        notes=tuple(notes),
    )
