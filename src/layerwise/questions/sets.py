"""Question sets: items × directions × wordings, from a TOML file and its table, or question by question.

A set is a TOML file with templates and a CSV table of items beside it, a CSV or JSONL file with one
question in each row, or computed (arithmetic).
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from layerwise.errors import QuestionError
from layerwise.questions import arithmetic
from layerwise.questions.near_names import listed_names
from layerwise.questions.question import Question, mixed
from layerwise.questions.question_rows import questions_from_rows
from layerwise.questions.set_files import read_set_file
from layerwise.questions.templates import questions_from_templates

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class QuestionSet:
    """Questions that belong together, with where their facts are from."""

    name: str
    version: int
    title: str
    description: str
    source: str
    questions: tuple[Question, ...]

    @cached_property
    def sum(self) -> str:
        """SHA-256 of every question."""
        content = [asdict(question) for question in self.questions]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @cached_property
    def items(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(question.item for question in self.questions))

    @cached_property
    def directions(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(question.direction for question in self.questions))

    @cached_property
    def wordings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(question.wording for question in self.questions))

    def some(
        self, *, items: int | None = None, directions: Iterable[str] = (), wordings: Iterable[str] = ()
    ) -> tuple[Question, ...]:
        """Return the questions of so many items, of some directions and some wordings.

        Which items those are depends on their names alone, so that more of them include fewer.

        Raises:
            QuestionError: the set has no such direction or wording, or none that is both.
        """
        directions, wordings = tuple(directions), tuple(wordings)
        self._expect("direction", directions, self.directions)
        self._expect("wording", wordings, self.wordings)
        asked = [
            question
            for question in self.questions
            if (not directions or question.direction in directions) and (not wordings or question.wording in wordings)
        ]
        if not asked:
            raise QuestionError(
                f"The question set {self.name} has the wordings {listed_names(wordings)} in other directions than "
                f"{listed_names(directions)} only."
            )
        there = dict.fromkeys(question.item for question in asked)
        chosen = set(sorted(there, key=lambda item: mixed(self.name, item))[:items])
        return tuple(question for question in asked if question.item in chosen)

    def _expect(self, what: str, asked: tuple[str, ...], there: tuple[str, ...]) -> None:
        if unknown := [name for name in asked if name not in there]:
            has = listed_names(there) or "none by name"
            raise QuestionError(f"The question set {self.name} has no {what} {unknown[0]!r}; it has {has}.")


def shipped_sets() -> list[str]:
    """Return the names of the sets that come with layerwise."""
    return sorted([arithmetic.NAME, *(file.stem for file in DATA.glob("*.toml"))])


def open_set(name: str, folder: Path = Path()) -> QuestionSet:
    """Return a set by the name of a shipped one, or by its file (relative to `folder`).

    Raises:
        QuestionError: there is no such set, or its file says something else than a question set;
            names the rows and the reasons.
    """
    if name == arithmetic.NAME:
        return QuestionSet(
            name,
            arithmetic.VERSION,
            arithmetic.TITLE,
            arithmetic.DESCRIPTION,
            arithmetic.SOURCE,
            arithmetic.arithmetic_questions(),
        )
    if name in shipped_sets():
        return _templated_set(DATA / f"{name}.toml")
    path = folder / name
    if path.suffix.lower() == ".toml":
        return _templated_set(path)
    if path.suffix.lower() in (".csv", ".jsonl"):
        return _listed_set(path)
    raise QuestionError(
        f"There is no question set {name!r}. Shipped sets: {', '.join(shipped_sets())}. Your own is a .toml, .csv or "
        ".jsonl file."
    )


def _templated_set(path: Path) -> QuestionSet:
    said = read_set_file(path)
    questions = questions_from_templates(path, said)
    return QuestionSet(said.name, said.version, said.title, said.description, said.source, questions)


def _listed_set(path: Path) -> QuestionSet:
    return QuestionSet(path.stem, 1, path.stem, "", path.name, questions_from_rows(path))
