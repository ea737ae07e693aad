"""Causal tracing over questions: where, on average, what the answer goes by stands, and where it goes.

Each known question is patched with another one in the same wording, so that the prompts differ in their subject alone
(Meng et al. 2022, arXiv:2202.05262, who corrupt the subject by noise instead).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from layerwise.causal.grid import PatchGrid, Patching
from layerwise.causal.pairs import Asked, ask, pair_up
from layerwise.causal.patching import DIRECTIONS, patch
from layerwise.causal.traced import BETWEEN, KINDS, LAST, ROLES, SUBJECT, SUBJECT_LAST, CausalTracing, TracedPair
from layerwise.errors import PromptError
from layerwise.questions.question import Question
from layerwise.tracing.model import Model
from layerwise.types import Progress
from layerwise.versions import package_versions


def trace_causes(
    model: Model,
    name: str,
    questions: Sequence[Question],
    *,
    directions: Sequence[str] = DIRECTIONS,
    limit: int = 50,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[CausalTracing]:
    """Return, by direction, what patches recover between known questions and others of the same wording.

    Args:
        model: what `layerwise.load` returns.
        name: what the questions are called together.
        questions: those to choose from; only ones that the model answers are used, as clean and as corrupted.
        directions: as for `patch`.
        limit: how many pairs at most; which ones depends on their names alone.
        seed: of placebos and intervals.
        progress: called with (what, done, total).

    Raises:
        QuestionError: no two known questions can be paired.
        CheckError: the model's numbers did not pass the checks.
    """
    asked = ask(model, questions, limit, progress=progress)
    return [_in_direction(model, name, asked, direction, limit, seed, progress) for direction in directions]


def _in_direction(
    model: Model, name: str, asked: Asked, direction: str, limit: int, seed: int, progress: Progress | None
) -> CausalTracing:
    def traced(question: Question, other: Question) -> Patching:
        found = patch(
            model,
            question.prompt,
            other.prompt,
            question.answers[0],
            other.answers[0],
            kinds=KINDS,
            direction=direction,
            placebo=True,
            seed=seed,
            only_effect=True,
        )
        if not found.alignment.shared_end:
            raise PromptError("The subject is at the end of the prompt")
        return found

    paired = pair_up(name, asked, limit, traced, f"patching pairs, {direction}", progress)
    grids = [found for _, _, found in paired.done]
    return CausalTracing(
        model=model.info,
        name=name,
        direction=direction,
        asked=asked.count,
        known=len(asked.known),
        pairs=tuple(_pair(*each) for each in paired.done),
        skipped=dict(paired.skipped),
        blocks={kind: grids[0].grid(kind).blocks for kind in KINDS},
        recovery={kind: np.stack([_placed(each, kind, each.grid(kind).recovery) for each in grids]) for kind in KINDS},
        placebo={kind: np.stack([_placed(each, kind, _placebo(each.grid(kind))) for each in grids]) for kind in KINDS},
        seed=seed,
        versions=package_versions(),
    )


def _pair(question: Question, other: Question, found: Patching) -> TracedPair:
    return TracedPair(
        question.item,
        question.wording,
        question.prompt,
        other.prompt,
        question.answers[0],
        other.answers[0],
        found.unpatched.logit_difference,
        found.source.logit_difference,
    )


def _placebo(grid: PatchGrid) -> np.ndarray:
    return np.full_like(grid.recovery, np.nan) if grid.placebo is None else grid.placebo


def _placed(found: Patching, kind: str, values: np.ndarray) -> Float[np.ndarray, "block place"]:
    """Return a grid by role of its positions; that of heads as it is."""
    grid = found.grid(kind)
    if grid.of_heads:
        return values
    length, end = len(found.patched), len(found.patched) - found.alignment.shared_end
    of_role = {
        SUBJECT: range(found.alignment.shared, end - 1),
        SUBJECT_LAST: range(max(found.alignment.shared, end - 1), end),
        BETWEEN: range(end, length - 1),
        LAST: range(length - 1, length),
    }
    columns = [[at for at, position in enumerate(grid.columns) if position in of_role[role]] for role in ROLES]
    nothing = np.full(len(values), np.nan)
    return np.stack([values[:, some].mean(axis=1) if some else nothing for some in columns], axis=1)
