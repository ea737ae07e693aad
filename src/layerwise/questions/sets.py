"""Question sets: items × directions × wordings, from a TOML file and its table, or question by question.

A set is a TOML file with templates and a CSV table of items beside it, a CSV or JSONL file with one
question in each row, or computed (arithmetic).
"""

import difflib
import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter

from layerwise.errors import QuestionError
from layerwise.questions import arithmetic
from layerwise.questions.forms import split_forms
from layerwise.questions.question import Question, mixed, with_alternatives
from layerwise.questions.set_files import LONGEST_PROMPT, Direction, Problems, Row, SetFile, read_rows, read_set_file
from layerwise.text import one_line

DATA = Path(__file__).parent / "data"

_KEYS = {"item", "prompt", "answer", "alternatives", "direction", "wording", "group", "space"}
"""Of a file with one question in each row."""
_SEPARATES = r"'|', which stands between forms (write '\|' for one that belongs to a form)"
_MOST_QUESTIONS = 1_000_000
_MOST_COLUMNS_NAMED = 10


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
                f"The question set {self.name} has the wordings {_listed(wordings)} in other directions than "
                f"{_listed(directions)} only."
            )
        there = dict.fromkeys(question.item for question in asked)
        chosen = set(sorted(there, key=lambda item: mixed(self.name, item))[:items])
        return tuple(question for question in asked if question.item in chosen)

    def _expect(self, what: str, asked: tuple[str, ...], there: tuple[str, ...]) -> None:
        if unknown := [name for name in asked if name not in there]:
            raise QuestionError(
                f"The question set {self.name} has no {what} {unknown[0]!r}; it has {_listed(there) or 'none by name'}."
            )


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
        return _from_templates(DATA / f"{name}.toml")
    path = folder / name
    if path.suffix.lower() == ".toml":
        return _from_templates(path)
    if path.suffix.lower() in (".csv", ".jsonl"):
        return _from_rows(path)
    raise QuestionError(
        f"There is no question set {name!r}. Shipped sets: {', '.join(shipped_sets())}. Your own is a .toml, .csv or "
        ".jsonl file."
    )


@dataclass(frozen=True)
class _Asked:
    """A question, and the row it was made from."""

    question: Question
    row: Row


def _from_templates(path: Path) -> QuestionSet:
    """Return a set whose prompts are made from templates and a table of items."""
    described = read_set_file(path)
    problems = Problems()
    rows = read_rows(path.parent / described.items, problems)
    named = {"item": None}  # in the order in which the file names them
    for direction in described.directions.values():
        named[direction.answer] = None
        for template in direction.wordings.values():
            with problems.noted():
                named |= dict.fromkeys(_columns(path, template))
    with problems.noted():
        _expect_columns(path, rows, named)
    per_item = sum(len(direction.wordings) for direction in described.directions.values())
    with problems.noted():
        if per_item * len(rows) > _MOST_QUESTIONS:
            raise QuestionError(f"{path} makes {per_item * len(rows):,} questions; at most {_MOST_QUESTIONS:,} do.")
        if len(described.directions) > 1 and any(row.get("alternatives") for row in rows):
            raise QuestionError(
                f"{path.parent / described.items} lists alternatives, and {path} has several directions, whose answers "
                "are of different types. Leave the column out: other items' answers will be taken."
            )
    problems.stop_if_any()
    asked: list[_Asked] = []
    for name, direction in described.directions.items():
        for row in rows:
            with problems.noted():
                asked += _of_row(path, described, name, direction, row)
    _note_repeated(
        problems,
        [(row.get("item"), row) for row in rows],
        "item",
        lambda *_: "Give each item a name of its own, and the forms of one answer a cell, with '|' between them",
    )
    problems.stop_if_any()
    return QuestionSet(
        described.name,
        described.version,
        described.title,
        described.description,
        described.source,
        _checked(asked),
    )


def _of_row(path: Path, described: SetFile, name: str, direction: Direction, row: Row) -> list[_Asked]:
    """Return one item's questions in one direction."""
    _expect(row, {"item", direction.answer})
    lead = " " if described.space else ""
    found = []
    for wording, template in direction.wordings.items():
        columns = _columns(path, template)
        _expect(row, columns)
        first = {column: _forms(row, column)[0] for column in columns}
        if len(template) + sum(len(first[column]) for column in columns) > LONGEST_PROMPT:
            raise row.error(f"makes a prompt of more than {LONGEST_PROMPT:,} characters")
        question = Question(
            id="/".join((described.name, row.get("item"), name, wording)),
            prompt=template.format_map(first),
            answers=_answers(row, direction.answer, lead),
            alternatives=_alternatives(row, lead),
            set=described.name,
            item=row.get("item"),
            direction=name,
            wording=wording,
            group=row.get("group") or described.name,
        )
        _refuse_unfit(question, row)
        found.append(_Asked(question, row))
    return found


def _from_rows(path: Path) -> QuestionSet:
    """Return a set of which every row is a question."""
    problems = Problems()
    asked: list[_Asked] = []
    rows = read_rows(path, problems)
    _refuse_header(path, rows)
    for row in rows:
        with problems.noted():
            asked.append(_Asked(_of_question_row(path, row), row))
    _note_repeated(problems, [(one.question.id, one.row) for one in asked], "question", _told_apart)
    problems.stop_if_any()
    return QuestionSet(path.stem, 1, path.stem, "", path.name, _checked(asked))


def _of_question_row(path: Path, row: Row) -> Question:
    _expect(row, {"answer"} if row.get("prompt").strip() else {"answer", "prompt"})  # a '|' can be a prompt
    if row.get("space") not in ("", "yes", "no"):
        raise row.error("has something else than yes or no as its 'space' (whether one stands in front of the answer)")
    lead = "" if row.get("space") == "no" else " "
    item, direction, wording = row.get("item") or row.name, row.get("direction"), row.get("wording")
    question = Question(
        id="/".join([path.stem, item, *(part for part in (direction, wording) if part)]),
        prompt=row.get("prompt"),
        answers=_answers(row, "answer", lead),
        alternatives=_alternatives(row, lead),
        set=path.stem,
        item=item,
        direction=direction,
        wording=wording,
        group=row.get("group"),
    )
    _refuse_unfit(question, row)
    return question


def _expect_columns(path: Path, rows: list[Row], named: Iterable[str]) -> None:
    """Tell at once of all columns that a TOML file names and no row has."""
    there = sorted({column for row in rows for column in row.cells})
    if rows and (missing := [column for column in named if column not in there]):
        where = f"{rows[0].path}, line {rows[0].header}" if rows[0].header else f"{rows[0].path}"
        more = len(there) - _MOST_COLUMNS_NAMED
        raise QuestionError(
            f"{where}: has no {_with_near_names(missing, there)}, which {path} names. Its columns are "
            f"{_listed(there[:_MOST_COLUMNS_NAMED])}{f' and {more:,} more' if more > 0 else ''}."
        )


def _refuse_header(path: Path, rows: list[Row]) -> None:
    """Tell at once of all columns, or keys in JSON Lines, that questions do not have, and of those they need."""
    at: dict[str, int] = {}
    for row in rows:
        for column in row.cells.keys() - _KEYS:
            at.setdefault(column, row.header or row.number)
    is_table = bool(rows and rows[0].header)  # in JSON Lines every line has keys of its own
    there = {*rows[0].cells} if is_table else set()
    said = []
    if at:
        are = "is no column" if len(at) == 1 else "are no columns"
        said.append(f"{_with_near_names(sorted(at), sorted(_KEYS - there))} {are} of questions")
    if is_table and (missing := sorted({"prompt", "answer"} - there)):
        said.append(f"there is no {' and no '.join(map(repr, missing))}")
    if said:
        line = min(at.values(), default=rows[0].header)
        raise QuestionError(
            f"{path}, line {line}: {'; '.join(said)}. The columns are {', '.join(sorted(_KEYS))}, of which prompt and "
            "answer are needed."
        )


def _with_near_names(names: list[str], known: Collection[str]) -> str:
    """Return names in quotation marks, each with the known one that may have been meant."""
    shown = []
    for name in names[:_MOST_COLUMNS_NAMED]:
        near = difflib.get_close_matches(name.strip().lower()[:100], known, n=1, cutoff=0.7)
        shown.append(one_line(repr(name), 60) + (f" (did you mean {one_line(repr(near[0]), 60)}?)" if near else ""))
    more = len(names) - _MOST_COLUMNS_NAMED
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def _refuse_unfit(question: Question, row: Row) -> None:
    if question.prompt.endswith(" "):
        prompt = one_line(repr(question.prompt), 80)
        raise row.error(f"the prompt {prompt} ends in a space, which belongs to the answer's token. Leave it out")
    if both := set(question.answers) & set(question.alternatives):
        raise row.error(f"has {one_line(sorted(both)[0].strip(), 60)!r} both as an answer and as a wrong one")


def _checked(asked: list[_Asked]) -> tuple[Question, ...]:
    """Return the questions with alternatives, unless two of them ask the same."""
    problems = Problems()
    by_prompt: dict[str, _Asked] = {}
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


def _columns(path: Path, template: str) -> list[str]:
    """Return the columns that a template names; nothing but names is allowed in its braces."""
    try:
        parts = [(name, spec, as_) for _, name, spec, as_ in Formatter().parse(template) if name is not None]
    except ValueError:
        parts = []
    names = [name for name, spec, as_ in parts if name.isidentifier() and not spec and not as_]
    if not names or len(names) < len(parts):
        raise QuestionError(
            f"{path}: the wording {one_line(repr(template), 80)} should name columns of the table in braces, as in "
            "'The capital of {country} is', and nothing else."
        )
    return names


def _expect(row: Row, columns: Iterable[str]) -> None:
    for column in sorted(columns):
        cell = row.get(column)
        if not any(form.strip() for form in split_forms(cell)):
            advice = rf". There is nothing but {_SEPARATES}" if cell.strip() else ""
            raise row.error(f"has no {one_line(repr(column), 60)}{advice}")


def _answers(row: Row, column: str, lead: str) -> tuple[str, ...]:
    forms = _forms(row, column)
    if len(forms) != len(set(forms)):
        raise row.error(f"has a form of {column!r} twice")
    return tuple(lead + form for form in forms)


def _alternatives(row: Row, lead: str) -> tuple[str, ...]:
    return tuple(lead + form for form in dict.fromkeys(_forms(row, "alternatives")))


def _forms(row: Row, column: str) -> list[str]:
    """Return a cell's forms, without white space at their edges; none of a cell that is empty."""
    forms = [form.strip() for form in split_forms(row.get(column))]
    if "" in forms and any(forms):
        raise row.error(f"has an empty form among those of {one_line(repr(column), 60)}, beside {_SEPARATES}")
    return [form for form in forms if form]


def _told_apart(row: Row, other: Row) -> str:
    """Return how two rows of one id are told apart."""
    if all(row.get(name) == other.get(name) for name in ("item", "direction", "wording")):
        return (
            "Rows of one item and direction are told apart by their wording: give it another wording, or leave it out"
        )
    return (
        "That is item, direction and wording with '/' between them, and a row without an item is called after its "
        "line: rename what makes the two the same"
    )


def _note_repeated(
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


def _listed(names: Iterable[str]) -> str:
    return ", ".join(one_line(name, 60) for name in names if name)
