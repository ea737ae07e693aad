"""A question: one prompt with what is asked of it, where it comes from, and wrong answers of the same type."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

ALTERNATIVES = 4
"""Wrong answers of the same type per question, where a set does not list its own."""

_ARTICLE = "the "


@dataclass(frozen=True)
class Question:
    """One item in one wording and direction."""

    id: str
    """Unique in a study."""
    prompt: str
    answers: tuple[str, ...] = ()
    """Acceptable ones, the main one first, usually with a leading space."""
    alternatives: tuple[str, ...] = ()
    """Wrong answers of the same type. The first is read like the answer, as a control."""
    track: tuple[str, ...] = ()
    """Texts of single tokens to follow."""
    role: str = "main"
    """Of a study's own questions, *main* ones are shown layer by layer, *probes* by their milestones and output."""
    set: str = ""
    """The question set; empty for a study's own questions."""
    item: str = ""
    """What is asked about. Statistics resample items: questions about one item are not independent."""
    direction: str = ""
    wording: str = ""
    group: str = ""
    """Of items: alternatives come from the same one."""


def with_alternatives(questions: Sequence[Question]) -> list[Question]:
    """Return questions with other items' answers as alternatives, where they have none and name a group.

    They are of the same direction and group: the next in a fixed shuffled order, so that each item's
    answer is the first alternative about as often as any other's.
    """
    answers: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
    for question in sorted(questions, key=lambda question: question.id):  # not as a file happens to have them
        of_items = answers.setdefault((question.direction, question.group), {})
        of_items[question.item] = tuple(dict.fromkeys((*of_items.get(question.item, ()), *question.answers)))
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for key, of_items in answers.items():
        order = sorted(of_items, key=lambda item: mixed(*key, item))
        for at, item in enumerate(order):
            found[*key, item] = _chosen(of_items[item], (of_items[other] for other in order[at + 1 :] + order[:at]))
    return [
        question
        if question.alternatives or not question.group
        else replace(question, alternatives=found[question.direction, question.group, question.item])
        for question in questions
    ]


def _chosen(own: tuple[str, ...], others: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return some of the others' main answers, none of which is, begins or goes on an own one."""

    def apart(*forms: str) -> bool:
        return not any(_overlap(a, b) for a in own for b in forms)

    possible = list(dict.fromkeys(forms[0] for forms in others if apart(*forms)))
    chosen = possible[:ALTERNATIVES]
    # An article decides nothing: where an answer begins with one, a wrong answer has to as well.
    if any(map(_has_article, own)) and not any(map(_has_article, chosen)):
        with_article = [wrong for wrong in possible if _has_article(wrong)]
        made_up = [made for wrong in chosen if apart(made := _with_article(wrong))]
        chosen += (with_article or made_up)[:1]
    return tuple(chosen)


def _has_article(form: str) -> bool:
    return form.lstrip().startswith(_ARTICLE)


def _with_article(form: str) -> str:
    word = form.lstrip()
    return form.removesuffix(word) + _ARTICLE + word


def _overlap(first: str, second: str) -> bool:
    first, second = first.casefold(), second.casefold()
    return first.startswith(second) or second.startswith(first)


def mixed(*names: str) -> bytes:
    """Return what puts items in an order that has nothing to do with their names, and never changes."""
    return hashlib.sha256("\n".join(names).encode()).digest()
