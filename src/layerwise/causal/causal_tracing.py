"""Causal tracing over questions: where, on average, what the answer goes by stands, and where it goes.

Each known question is patched with another one in the same wording, so that the prompts differ in their subject alone
(Meng et al. 2022, arXiv:2202.05262, who corrupt the subject by noise instead).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from layerwise.causal.grid import PatchGrid, Patching
from layerwise.causal.patching import DIRECTIONS, patch
from layerwise.causal.traced import BETWEEN, KINDS, LAST, ROLES, SUBJECT, SUBJECT_LAST, CausalTracing, TracedPair
from layerwise.errors import PromptError, QuestionError
from layerwise.questions.question import Question, mixed
from layerwise.tracing.model import Model
from layerwise.tracing.request import Request
from layerwise.types import Progress
from layerwise.versions import package_versions

_ASKED_AT_ONCE = 64
"""Questions are asked in groups until so many are known that there are pairs enough."""

_KNOWN_PER_PAIR = 1.5


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
    asked, known = _known(model, questions, limit, progress)
    return [_in_direction(model, name, asked, known, direction, limit, seed, progress) for direction in directions]


def _in_direction(
    model: Model,
    name: str,
    asked: int,
    known: Sequence[Question],
    direction: str,
    limit: int,
    seed: int,
    progress: Progress | None,
) -> CausalTracing:
    by_wording: dict[tuple[str, str], list[Question]] = defaultdict(list)
    for question in sorted(known, key=lambda each: mixed(each.id)):
        by_wording[question.direction, question.wording].append(question)
    done: list[tuple[TracedPair, Patching]] = []
    skipped: Counter[str] = Counter()
    for question in sorted(known, key=lambda each: mixed("pair", each.id)):
        if len(done) == limit:
            break
        if progress:
            progress(f"patching pairs, {direction}", len(done), min(limit, len(known)))
        try:
            done.append(_traced(model, question, by_wording[question.direction, question.wording], direction, seed))
        except PromptError as error:
            skipped[str(error).split(":")[0].split("\n")[0]] += 1
    if not done:
        reasons = "; ".join(skipped) or f"the model answers {len(known)} of {asked}"
        raise QuestionError(f"No two questions of {name} can be patched with each other: {reasons}.")
    grids = [found for _, found in done]
    return CausalTracing(
        model=model.info,
        name=name,
        direction=direction,
        asked=asked,
        known=len(known),
        pairs=tuple(pair for pair, _ in done),
        skipped=dict(skipped),
        blocks={kind: grids[0].grid(kind).blocks for kind in KINDS},
        recovery={kind: np.stack([_placed(each, kind, each.grid(kind).recovery) for each in grids]) for kind in KINDS},
        placebo={kind: np.stack([_placed(each, kind, _placebo(each.grid(kind))) for each in grids]) for kind in KINDS},
        seed=seed,
        versions=package_versions(),
    )


def _known(
    model: Model, questions: Sequence[Question], limit: int, progress: Progress | None
) -> tuple[int, list[Question]]:
    """Return how many questions were asked, and those whose answers the model would write by itself."""
    order = sorted(questions, key=lambda each: mixed("pair", each.id))
    known: list[Question] = []
    asked = 0
    while asked < len(order) and len(known) < _KNOWN_PER_PAIR * limit:
        some = order[asked : asked + _ASKED_AT_ONCE]
        asked += len(some)
        possible = [each for each in some if model.refusal(Request.about(each)) is None]
        traces = model.trace_all([Request.about(each) for each in possible], progress=progress)
        answers = [(question, trace.answer) for question, [trace] in zip(possible, traces, strict=True)]
        known += [question for question, answer in answers if answer and answer.known]
    return asked, known


def _traced(
    model: Model, question: Question, others: Sequence[Question], direction: str, seed: int
) -> tuple[TracedPair, Patching]:
    """Patch a question with the next one in its wording. Raises PromptError where none can stand beside it."""
    at = others.index(question)
    refused = PromptError("No other known question in the same wording has another answer")
    for other in (*others[at + 1 :], *others[:at]):
        if other.item == question.item or {*other.answers} & {*question.answers}:
            continue
        try:
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
        except PromptError as error:
            refused = error
            continue
        if not found.alignment.shared_end:
            refused = PromptError("The subject is at the end of the prompt")
            continue
        pair = TracedPair(
            question.item,
            question.wording,
            question.prompt,
            other.prompt,
            question.answers[0],
            other.answers[0],
            found.unpatched.logit_difference,
            found.source.logit_difference,
        )
        return pair, found
    raise refused


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
