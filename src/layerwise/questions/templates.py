"""Questions made from templates and a table of items: items × directions × wordings."""

from collections.abc import Iterable
from pathlib import Path
from string import Formatter

from layerwise.errors import QuestionError
from layerwise.questions.asked_rows import AskedRow, different_questions, note_repeated, refuse_unfit
from layerwise.questions.cells import alternatives_in, answers_in, expect_filled, forms_in
from layerwise.questions.near_names import MOST_NAMED, listed_names, with_near_names
from layerwise.questions.question import Question
from layerwise.questions.set_files import LONGEST_PROMPT, Direction, Problems, Row, SetFile, read_rows
from layerwise.text import one_line

_MOST_QUESTIONS = 1_000_000


def questions_from_templates(path: Path, described: SetFile) -> tuple[Question, ...]:
    """Return the questions that a set's TOML file at `path` describes, made with the table beside it.

    Raises:
        QuestionError: the table cannot be read, or does not go with the templates; names the rows and the reasons.
    """
    problems = Problems()
    rows = read_rows(path.parent / described.items, problems)
    named = _columns_named(path, described, problems)
    with problems.noted():
        _expect_columns(path, rows, named)
    with problems.noted():
        _expect_fitting(path, described, rows)
    problems.stop_if_any()
    asked: list[AskedRow] = []
    for name, direction in described.directions.items():
        for row in rows:
            with problems.noted():
                asked += _of_row(path, described, name, direction, row)
    note_repeated(
        problems,
        [(row.get("item"), row) for row in rows],
        "item",
        lambda *_: "Give each item a name of its own, and the forms of one answer a cell, with '|' between them",
    )
    problems.stop_if_any()
    return different_questions(asked)


def _of_row(path: Path, described: SetFile, name: str, direction: Direction, row: Row) -> list[AskedRow]:
    """Return one item's questions in one direction."""
    expect_filled(row, {"item", direction.answer})
    lead = " " if described.space else ""
    found = []
    for wording, template in direction.wordings.items():
        columns = _columns(path, template)
        expect_filled(row, columns)
        first = {column: forms_in(row, column)[0] for column in columns}
        if len(template) + sum(len(first[column]) for column in columns) > LONGEST_PROMPT:
            raise row.error(f"makes a prompt of more than {LONGEST_PROMPT:,} characters")
        question = Question(
            id="/".join((described.name, row.get("item"), name, wording)),
            prompt=template.format_map(first),
            answers=answers_in(row, direction.answer, lead),
            alternatives=alternatives_in(row, lead),
            set=described.name,
            item=row.get("item"),
            direction=name,
            wording=wording,
            group=row.get("group") or described.name,
        )
        refuse_unfit(question, row)
        found.append(AskedRow(question, row))
    return found


def _columns_named(path: Path, described: SetFile, problems: Problems) -> list[str]:
    """Return the columns that the table needs, each once, in the order in which the file names them."""
    named = {"item": None}
    for direction in described.directions.values():
        named[direction.answer] = None
        for template in direction.wordings.values():
            with problems.noted():
                named |= dict.fromkeys(_columns(path, template))
    return [*named]


def _expect_columns(path: Path, rows: list[Row], named: Iterable[str]) -> None:
    """Tell at once of all columns that a TOML file names and no row has."""
    there = sorted({column for row in rows for column in row.cells})
    if rows and (missing := [column for column in named if column not in there]):
        where = f"{rows[0].path}, line {rows[0].header}" if rows[0].header else f"{rows[0].path}"
        more = len(there) - MOST_NAMED
        raise QuestionError(
            f"{where}: has no {with_near_names(missing, there)}, which {path} names. Its columns are "
            f"{listed_names(there[:MOST_NAMED])}{f' and {more:,} more' if more > 0 else ''}."
        )


def _expect_fitting(path: Path, described: SetFile, rows: list[Row]) -> None:
    """Refuse more questions than anybody asks, and alternatives that would serve directions of different types."""
    per_item = sum(len(direction.wordings) for direction in described.directions.values())
    if per_item * len(rows) > _MOST_QUESTIONS:
        raise QuestionError(f"{path} makes {per_item * len(rows):,} questions; at most {_MOST_QUESTIONS:,} do.")
    if len(described.directions) > 1 and any(row.get("alternatives") for row in rows):
        raise QuestionError(
            f"{path.parent / described.items} lists alternatives, and {path} has several directions, whose answers "
            "are of different types. Leave the column out: other items' answers will be taken."
        )


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
