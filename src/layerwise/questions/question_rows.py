"""Questions of a file that has one in each row."""

from pathlib import Path

from layerwise.errors import QuestionError
from layerwise.questions.asked_rows import AskedRow, different_questions, note_repeated, refuse_unfit
from layerwise.questions.cells import alternatives_in, answers_in, expect_filled
from layerwise.questions.near_names import with_near_names
from layerwise.questions.question import Question
from layerwise.questions.set_files import Problems, Row, read_rows

_KEYS = {"item", "prompt", "answer", "alternatives", "direction", "wording", "group", "space"}
"""The columns that there may be; in JSON Lines, the keys."""


def questions_from_rows(path: Path) -> tuple[Question, ...]:
    """Return the questions of a CSV or JSONL file.

    Raises:
        QuestionError: the file cannot be read, or a row is no question; names the rows and the reasons.
    """
    problems = Problems()
    asked: list[AskedRow] = []
    rows = read_rows(path, problems)
    _refuse_header(path, rows)
    for row in rows:
        with problems.noted():
            asked.append(AskedRow(_of_row(path, row), row))
    note_repeated(problems, [(one.question.id, one.row) for one in asked], "question", _told_apart)
    problems.stop_if_any()
    return different_questions(asked)


def _of_row(path: Path, row: Row) -> Question:
    expect_filled(row, {"answer"} if row.get("prompt").strip() else {"answer", "prompt"})  # a '|' can be a prompt
    if row.get("space") not in ("", "yes", "no"):
        raise row.error("has something else than yes or no as its 'space' (whether one stands in front of the answer)")
    lead = "" if row.get("space") == "no" else " "
    item, direction, wording = row.get("item") or row.name, row.get("direction"), row.get("wording")
    question = Question(
        id="/".join([path.stem, item, *(part for part in (direction, wording) if part)]),
        prompt=row.get("prompt"),
        answers=answers_in(row, "answer", lead),
        alternatives=alternatives_in(row, lead),
        set=path.stem,
        item=item,
        direction=direction,
        wording=wording,
        group=row.get("group"),
    )
    refuse_unfit(question, row)
    return question


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
        said.append(f"{with_near_names(sorted(at), sorted(_KEYS - there))} {are} of questions")
    if is_table and (missing := sorted({"prompt", "answer"} - there)):
        said.append(f"there is no {' and no '.join(map(repr, missing))}")
    if said:
        line = min(at.values(), default=rows[0].header)
        raise QuestionError(
            f"{path}, line {line}: {'; '.join(said)}. The columns are {', '.join(sorted(_KEYS))}, of which prompt and "
            "answer are needed."
        )


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
