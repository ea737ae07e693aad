"""Files of questions, read with the file, line and reason in every complaint."""

import contextlib
import csv
import io
import json
import re
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from layerwise.errors import QuestionError
from layerwise.questions.forms import join_forms
from layerwise.text import one_line

LONGEST_PROMPT = 1 << 16
"""Characters. Longer than any model's context could make use of, and a sign of a damaged file."""

_LARGEST_TABLE = 64 << 20
_LARGEST_TOML = 1 << 20
_MOST_SHOWN = 20
_SINGLE = {"item", "prompt", "direction", "wording", "group"}
"""What a question has one of: a JSON list of them says nothing."""

_SAYS_COMMA = "sep=,"
"""A line that spreadsheets may put in front of a table, for one another."""

_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""A zero, as UTF-16 has it for every second byte; half of a character, as JSON can write it."""

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]


class Problems:
    """What is wrong with a file, collected so that one message tells all of it."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}  # a row may have the same problem in each direction

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Note a QuestionError, and go on after the block."""
        try:
            yield
        except QuestionError as error:
            self._found[str(error)] = None

    def stop_if_any(self) -> None:
        """Raise QuestionError that tells of everything noted."""
        if self._found:
            more = len(self._found) - _MOST_SHOWN
            rest = [f"… and {more:,} more like these."] if more > 0 else []
            raise QuestionError("\n".join([*self._found][:_MOST_SHOWN] + rest))


@dataclass(frozen=True)
class Row:
    """One row of a table, or one line of JSON."""

    path: Path
    number: int
    """Of its first line, as an editor counts; the first is 1."""
    cells: dict[str, str]
    header: int = 0
    """The line of its table's header; 0 where there is none, as in JSON Lines."""

    @property
    def name(self) -> str:
        return f"row-{self.number}"

    def get(self, column: str) -> str:
        """Return a cell; an absent one is empty."""
        return self.cells.get(column, "")

    def error(self, what: str) -> QuestionError:
        """Return an error that names the row and its beginning."""
        shown = one_line(", ".join(self.cells.values()), limit=80)
        return QuestionError(f"{self.path}, line {self.number} ({shown}): {what}.")


class Direction(BaseModel):
    """What is asked for, and in which words."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    answer: str
    """The table's column that holds it."""
    wordings: Annotated[dict[_Name, Annotated[str, Field(max_length=4096)]], Field(min_length=1)]
    """Templates that name columns in braces, by name."""


class SetFile(BaseModel):
    """What a question set's TOML file says."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: _Name
    version: Annotated[int, Field(ge=1)]
    title: Annotated[str, Field(min_length=1)]
    description: str = ""
    source: Annotated[str, Field(min_length=1)]
    items: Annotated[str, Field(min_length=1)]
    """The table's file, in the same folder or below."""
    space: bool = True
    """Whether one stands between prompt and answer. In Chinese, or after an opening bracket, there is none."""
    directions: Annotated[dict[_Name, Direction], Field(min_length=1)]

    @field_validator("items")
    @classmethod
    def _stays_in_the_folder(cls, items: str) -> str:
        paths = PurePosixPath(items), PureWindowsPath(items)
        if any(path.anchor or ".." in path.parts for path in paths) or not items.isprintable():
            raise ValueError("should name a file in the folder of this one or below it")
        return items


def read_set_file(path: Path) -> SetFile:
    """Return what a TOML file says about a question set.

    Raises:
        QuestionError: it cannot be read, or a key is missing, unknown or of another type.
    """
    text = _text_of(path, _LARGEST_TOML)
    try:
        return SetFile.model_validate(tomllib.loads(text))
    except ValidationError as error:
        said = [f"  {one_line('.'.join(map(str, e['loc'])), 120)}: {e['msg']}" for e in error.errors()]
        more = [f"  … and {len(said) - _MOST_SHOWN:,} more"] if len(said) > _MOST_SHOWN else []
        problems = "\n".join(said[:_MOST_SHOWN] + more)
        raise QuestionError(f"{path} describes no question set:\n{problems}") from error
    except (ValueError, RecursionError) as error:  # tomllib also lets through what int() and nesting raise
        raise QuestionError(f"{path} is not TOML: {one_line(str(error))}.") from error


def read_rows(path: Path, problems: Problems) -> list[Row]:
    """Return the rows of a CSV file with a header, or the lines of a JSONL file; damaged ones are noted as problems.

    Raises:
        QuestionError: it cannot be read, is not UTF-8, not CSV, or has no rows.
    """
    text = _text_of(path, _LARGEST_TABLE)
    rows = _json_rows(path, text, problems) if path.suffix.lower() == ".jsonl" else _csv_rows(path, text, problems)
    if not rows:
        problems.stop_if_any()
        raise QuestionError(f"{path} holds no questions.")
    whole: list[Row] = []
    for row in rows:
        with problems.noted():
            _refuse_damaged(row)
            whole.append(row)
    return whole


def _csv_rows(path: Path, text: str, problems: Problems) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    header: list[str] | None = None
    before = top = 0
    try:
        for cells in reader:
            number, before = before + 1, reader.line_num
            if not any(cell.strip() for cell in cells):  # spreadsheets leave such rows at the end
                continue
            if header is None and ",".join(cells).strip().lower() == _SAYS_COMMA:
                continue
            if header is None:
                header, top = _header(path, number, cells), number
            elif len(cells) != len(header):
                with problems.noted():
                    raise QuestionError(
                        f"{path}, line {number}: the header has {len(header)} cells, and this row {len(cells)}. A cell "
                        "with a comma in it needs quotation marks."
                    )
            else:
                named = dict(zip(header, cells, strict=True))
                rows.append(Row(path, number, named, top))
    except csv.Error as error:
        raise QuestionError(f"{path}, line {before + 1}: not CSV ({error}).") from error
    return rows


def _header(path: Path, number: int, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if len(header) == 1 and (other := next((mark for mark in ";\t" if mark in header[0]), None)):
        raise QuestionError(
            f"{path}, line {number}: cells are parted by commas in CSV, and here by {other!r}. Save the table again "
            "with a comma as the field separator: LibreOffice asks for it under 'Edit filter settings', Excel takes it "
            "from the system's list separator. Or replace each separator by a comma, and put cells that hold a comma "
            "into quotation marks."
        )
    if len(set(header)) != len(header) or not all(header):
        raise QuestionError(
            f"{path}, line {number}: the header names a column twice, or one has no name: "
            f"{one_line(', '.join(map(repr, header)), 120)}. Give each a name of its own; pandas leaves its column of "
            "row numbers out with to_csv(…, index=False)."
        )
    return header


def _json_rows(path: Path, text: str, problems: Problems) -> list[Row]:
    rows: list[Row] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            with problems.noted():
                rows.append(Row(path, number, _json_cells(f"{path}, line {number}", line)))
    return rows


def _json_cells(where: str, line: str) -> dict[str, str]:
    try:
        found = json.loads(line, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise QuestionError(f"{where}: not JSON ({error}).") from error
    if not isinstance(found, _Pairs):
        raise QuestionError(f'{where}: expected an object with keys, as in {{"prompt": …}}.')
    cells = {key: _cell(where, key, value) for key, value in found}
    if len(cells) < len(found):
        raise QuestionError(f"{where}: a key stands there twice.")
    return cells


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it is written: a `dict` would keep only the last of two equal keys."""


def _cell(where: str, key: str, value: Any) -> str:
    """Return a JSON value as a table cell: texts, or lists of them; null as an empty one."""
    if value is None:  # as programs write what is not there
        return ""
    shown, many = one_line(repr(key), 60), type(value) is list and key not in _SINGLE
    texts = value if many else [value]
    # A fraction would not be asked as it is written: 1.50 is read as 1.5.
    if not all(type(text) in (str, int) for text in texts):
        expected = "a text" if key in _SINGLE else "a text or a list of texts"
        raise QuestionError(f"{where}: {shown} should be {expected}, or a whole number.")
    return join_forms([str(text) for text in texts]) if many else str(value)


def _refuse_damaged(row: Row) -> None:
    for column, cell in row.cells.items():
        shown = one_line(repr(column), 60)
        if len(cell) > LONGEST_PROMPT:
            raise row.error(
                f"{shown} has {len(cell):,} characters, and at most {LONGEST_PROMPT:,} can be put to a model"
            )
        if _NO_TEXT.search(cell):
            raise row.error(f"{shown} holds a character that is no text; is the file damaged, or UTF-16?")


def _text_of(path: Path, most_bytes: int) -> str:
    """Return a file's text with lines that end in a newline alone."""
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe would be waited for
            raise QuestionError(f"{path} cannot be read: it is no file.")
        if about.st_size > most_bytes:
            raise QuestionError(f"{path} is larger than {most_bytes >> 20} MB, which no such file needs to be.")
        content = path.read_bytes()
    except OSError as error:
        raise QuestionError(f"{path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # a name with a NUL in it
        raise QuestionError(f"{one_line(str(path))} cannot be read: {error}.") from error
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise QuestionError(
            f"{path}, line {line}: not UTF-8. Save the file in that encoding; spreadsheets call it 'CSV UTF-8'."
        ) from error
