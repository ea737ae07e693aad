"""Questions that a model answers, each beside another one in the same wording."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from layerwise.errors import PromptError, QuestionError
from layerwise.lens_spec import LOGIT
from layerwise.questions.question import Question, mixed
from layerwise.readout.lenses import Lens
from layerwise.tracing.model import Model
from layerwise.tracing.request import Request
from layerwise.tracing.trace import Trace
from layerwise.types import Progress

_ASKED_AT_ONCE = 64
"""Questions are asked in groups until so many are known that there are pairs enough."""

_KNOWN_PER_PAIR = 1.5

Found = TypeVar("Found")


@dataclass(frozen=True)
class Asked:
    """What a model answers of a set."""

    count: int
    """Questions, in an order that depends on their names alone, until enough were known."""
    known: dict[Question, list[Trace]]
    """Those whose answers the model would write by itself, with their traces through each lens."""


@dataclass(frozen=True)
class Paired(Generic[Found]):
    """What was found for each question beside another one."""

    done: list[tuple[Question, Question, Found]]
    skipped: Counter[str]
    """By reason, known questions that could not be paired."""


def ask(
    model: Model,
    questions: Sequence[Question],
    limit: int,
    *,
    lenses: Sequence[str | Lens] = (LOGIT.name,),
    progress: Progress | None = None,
) -> Asked:
    """Ask questions until enough are known for so many pairs."""
    order = sorted(questions, key=lambda each: mixed("pair", each.id))
    known: dict[Question, list[Trace]] = {}
    asked = 0
    while asked < len(order) and len(known) < _KNOWN_PER_PAIR * limit:
        some = order[asked : asked + _ASKED_AT_ONCE]
        asked += len(some)
        possible = [each for each in some if model.refusal(Request.about(each)) is None]
        traces = model.trace_all([Request.about(each) for each in possible], lenses=lenses, progress=progress)
        for question, of_question in zip(possible, traces, strict=True):
            answer = of_question[0].answer
            if answer and answer.known:
                known[question] = of_question
    return Asked(asked, known)


def pair_up(
    name: str,
    asked: Asked,
    limit: int,
    run: Callable[[Question, Question], Found],
    what: str,
    progress: Progress | None = None,
) -> Paired[Found]:
    """Run each known question beside the next one in its wording with another answer that it can stand beside.

    Args:
        name: what the questions are called together.
        asked: those that are known.
        limit: how many pairs at most; which ones depends on their names alone.
        run: is given a question and another one; raises PromptError where they cannot stand beside each other.
        what: is being done, for progress.
        progress: called with (what, done, total).

    Raises:
        QuestionError: no two can be paired.
    """
    known = list(asked.known)
    by_wording: dict[tuple[str, str], list[Question]] = defaultdict(list)
    for question in sorted(known, key=lambda each: mixed(each.id)):
        by_wording[question.direction, question.wording].append(question)
    found = Paired[Found]([], Counter())
    for question in sorted(known, key=lambda each: mixed("pair", each.id)):
        if len(found.done) == limit:
            break
        if progress:
            progress(what, len(found.done), min(limit, len(known)))
        refused = "No other known question in the same wording has another answer"
        for other in others_of(question, by_wording[question.direction, question.wording]):
            try:
                found.done.append((question, other, run(question, other)))
                break
            except PromptError as error:
                refused = str(error)
        else:
            found.skipped[refused.split(":")[0].split("\n")[0]] += 1
    if not found.done:
        reasons = "; ".join(found.skipped) or f"the model answers {len(known)} of {asked.count}"
        raise QuestionError(f"No two questions of {name} can be patched with each other: {reasons}.")
    return found


def others_of(question: Question, others: Sequence[Question]) -> list[Question]:
    """Return those about other items with other answers, from the one after this question on."""
    at = others.index(question)
    return [
        other
        for other in (*others[at + 1 :], *others[:at])
        if other.item != question.item and not {*other.answers} & {*question.answers}
    ]
