"""Questions beside the rows that they were made from, so that what is wrong with one is told by its line."""

from collections.abc import Callable
from dataclasses import dataclass

from layerwise.questions.question import Question, with_alternatives
from layerwise.questions.set_files import Problems, Row
from layerwise.text import one_line


@dataclass(frozen=True)
class AskedRow:
    """A question, and the row it was made from."""

    question: Question
    row: Row


def refuse_unfit(question: Question, row: Row) -> None:
    """Refuse a question that no model could answer as it is meant."""
    if question.prompt.endswith(" "):
        prompt = one_line(repr(question.prompt), 80)
        raise row.error(f"the prompt {prompt} ends in a space, which belongs to the answer's token. Leave it out")
    if both := set(question.answers) & set(question.alternatives):
        raise row.error(f"has {one_line(sorted(both)[0].strip(), 60)!r} both as an answer and as a wrong one")


def note_repeated(
    problems: Problems, named: list[tuple[str, Row]], what: str, remedy: Callable[[Row, Row], str]
) -> None:
    """Note all but the first row of a name."""
    first: dict[str, Row] = {}
    for name, row in named:
        other = first.setdefault(name, row)
        with problems.noted():
            if other is not row:
                shown = one_line(repr(name), 60)
                raise row.error(f"is {what} {shown}, and so is line {other.number}. {remedy(row, other)}")


def different_questions(asked: list[AskedRow]) -> tuple[Question, ...]:
    """Return the questions with alternatives, unless two of them ask the same."""
    problems = Problems()
    by_prompt: dict[str, AskedRow] = {}
    for one in asked:
        other = by_prompt.setdefault(one.question.prompt, one)
        with problems.noted():
            if other is not one:
                raise one.row.error(
                    f"asks {one_line(repr(one.question.prompt), 80)}, and so does line {other.row.number}: their "
                    "answers would be scored against each other's. Make the prompts differ, or put both answers into "
                    "one question"
                )
    problems.stop_if_any()
    return tuple(with_alternatives([one.question for one in asked]))
