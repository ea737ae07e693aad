"""Grids under each draw of noise, or the one there is without, and the draws joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.edits import Edit
from layerwise.causal.grid import PatchGrid, Patching, SubjectNoise
from layerwise.causal.outcomes import Outcome, run_cells
from layerwise.causal.planning import GridPlan
from layerwise.causal.prompt_pair import PromptPair
from layerwise.models.loading.loaded import LoadedModel
from layerwise.types import Progress
from layerwise.versions import package_versions

_SURELY = 1e-3
"""An effect smaller than this cannot be recovered: rounding would be divided by it."""

Grids = list[dict[str, Float[np.ndarray, "row column"]]]
"""By plan and measure."""


@dataclass(frozen=True)
class Draw:
    """A run that is patched, and what is put into it."""

    ids: tuple[int, ...]
    edits: tuple[Edit, ...]
    """Noise on its embeddings, if it is the corrupted one."""
    put: Sequence[Mapping[str, Tensor]]
    """By site: the source's values; after them the placebo's, where one is wanted."""
    last: Float[Tensor, " d_model"]
    """The source's last state."""


@dataclass(frozen=True)
class DrawFound:
    """What one draw's runs say."""

    unpatched: Outcome
    source: Outcome
    grids: list[Grids]
    """By what was put: the source's values, then the placebo's."""


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
    """Return grids of all draws: means, and how far the draws spread."""
    effect = "logit_difference" if pair.against else "answer_logprob"
    between = [getattr(each.source, effect) - getattr(each.unpatched, effect) for each in found]
    notes: list[str] = []
    if min(map(abs, between)) < _SURELY:
        notes.append(
            f"The two runs differ by {min(map(abs, between)):.1g} in {effect}: there is nothing to recover, and the "
            "recovery is left out."
        )

    def recovered(put: int, index: int) -> Float[np.ndarray, "draw row column"]:
        """Return how far a plan's grid recovers in each draw."""
        moved = [each.grids[put][index][effect] - getattr(each.unpatched, effect) for each in found]
        wholes = [whole if abs(whole) >= _SURELY else np.nan for whole in between]
        return np.stack([each / whole for each, whole in zip(moved, wholes, strict=True)])

    grids: list[PatchGrid] = []
    for index, plan in enumerate(plans):
        of_draws, of_patch = recovered(0, index), [each.grids[0][index] for each in found]
        grids.append(
            PatchGrid(
                kind=plan.kind,
                blocks=plan.blocks,
                columns=plan.columns,
                of_heads=plan.of_heads,
                values={name: np.mean([values[name] for values in of_patch], axis=0) for name in of_patch[0]},
                recovery=of_draws.mean(axis=0),
                spread=of_draws.std(axis=0, ddof=1) if len(found) > 1 else None,
                placebo=recovered(1, index).mean(axis=0) if len(found[0].grids) > 1 else None,
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
