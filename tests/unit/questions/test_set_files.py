"""Files of questions: what is read, and what is said about the rest."""

import json
import os
from pathlib import Path

import pytest

from layerwise.errors import QuestionError
from layerwise.questions.set_files import Problems, Row, read_rows, read_set_file

GOOD = """\
name = "rivers"
version = 1
title = "Rivers"
source = "An atlas."
items = "rivers.csv"

[directions.river-to-sea]
answer = "sea"
wordings.statement = "The {river} flows into the"
"""


def rows_of(path: Path) -> list[Row]:
    problems = Problems()
    rows = read_rows(path, problems)
    problems.stop_if_any()
    return rows


@pytest.fixture
def read(tmp_path):
    """Read a file of rows with this content."""

    def call(content: str | bytes, name: str = "mine.csv"):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return rows_of(tmp_path / name)

    return call


@pytest.fixture
def refused(read, tmp_path):
    """Return what is said about a file of rows, without its path."""

    def call(content: str | bytes, name: str = "mine.csv") -> str:
        with pytest.raises(QuestionError) as raised:
            read(content, name)
        assert str(raised.value).startswith(str(tmp_path / name))
        return str(raised.value).replace(str(tmp_path / name), "FILE")

    return call


@pytest.fixture
def refused_toml(tmp_path):
    def call(content: str | bytes) -> str:
        path = tmp_path / "set.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        with pytest.raises(QuestionError) as raised:
            read_set_file(path)
        assert str(path) in str(raised.value)
        return str(raised.value).replace(str(path), "FILE")

    return call


# What is read.


def test_rows_are_named_by_the_line_on_which_they_begin(read):
    rows = read('prompt,answer\n"two\nlines",a\n\none,b\n')
    assert [(row.number, row.name, row.cells, row.header) for row in rows] == [
        (2, "row-2", {"prompt": "two\nlines", "answer": "a"}, 1),
        (5, "row-5", {"prompt": "one", "answer": "b"}, 1),
    ]


@pytest.mark.parametrize("content", ["prompt,answer\r\na,b\r\n", "prompt,answer\ra,b\r", "\ufeffprompt,answer\na,b"])
def test_a_mark_in_front_and_other_line_ends_change_nothing(read, content):
    [row] = read(content)
    assert (row.number, row.cells) == (2, {"prompt": "a", "answer": "b"})


def test_empty_rows_which_spreadsheets_leave_behind_are_passed_over(read):
    assert len(read("prompt,answer\na,b\n,\n  , \n\n")) == 1


def test_a_line_feed_at_the_edge_of_a_cell_belongs_to_the_text(read):
    [from_table] = read('prompt,answer\n"\nQ: 2 + 2?\n\n",4\n')
    [from_json] = read('{"prompt": "\\nQ: 2 + 2?\\n\\n", "answer": "4"}\n', "mine.jsonl")
    assert from_table.get("prompt") == from_json.get("prompt") == "\nQ: 2 + 2?\n\n"


def test_jsonl_has_texts_whole_numbers_and_lists_of_them(read):
    line = json.dumps({"prompt": "é", "answer": ["a", 1], "alternatives": [], "year": 1989})
    [row] = read(line, "mine.jsonl")
    assert row.cells == {"prompt": "é", "answer": "a|1", "alternatives": "", "year": "1989"}


def test_a_null_is_as_good_as_no_key(read):
    line = '{"prompt": "a", "answer": "b", "alternatives": null, "group": null}'
    assert read(line, "mine.jsonl")[0].cells == {"prompt": "a", "answer": "b", "alternatives": "", "group": ""}


def test_a_bar_in_a_list_of_json_is_part_of_its_form(read):
    line = json.dumps({"prompt": "a", "answer": ["x || y", "\\", "z"]})
    assert read(line, "mine.jsonl")[0].cells["answer"] == r"x \|\| y|\\|z"


@pytest.mark.parametrize("line", ["sep=,", "SEP=,", '"sep=,"'])
def test_a_line_on_separators_in_front_is_no_header(read, line):
    [row] = read(f"{line}\r\nprompt,answer\r\na,b\r\n")
    assert (row.number, row.header, row.cells) == (3, 2, {"prompt": "a", "answer": "b"})


def test_a_name_in_capitals_is_read_as_well(read):
    assert read('{"prompt": "a"}\n', "MINE.JSONL")[0].cells == {"prompt": "a"}


# What is refused: tables.


@pytest.mark.parametrize("name", ["mine.csv", "mine.jsonl"])
@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_refused(refused, content, name):
    assert refused(content, name) == "FILE holds no questions."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("prompt,answer\n", "FILE holds no questions."),
        ("prompt,answer\na,b\na,b,c\n", "FILE, line 3: the header has 2 cells, and this row 3. A cell with a comma"),
        ("prompt,prompt\na,b\n", "FILE, line 1: the header names a column twice"),
        ("\nprompt,\na,b\n", "FILE, line 2: the header names a column twice, or one has no name: 'prompt', ''."),
        (",prompt,answer\n0,a,b\n", "pandas leaves its column of row numbers out with to_csv(…, index=False)"),
        ("sep=;\nprompt;answer\na;b\n", "FILE, line 1: cells are parted by commas in CSV, and here by ';'"),
        ("prompt;answer\na;b\n", "FILE, line 1: cells are parted by commas in CSV, and here by ';'"),
        ("prompt\tanswer\na\tb\n", r"FILE, line 1: cells are parted by commas in CSV, and here by '\t'"),
        ('prompt,answer\na,b\n"open,b\nc,d\n', "FILE, line 3: not CSV (unexpected end of data)"),
        ('prompt,answer\n"a"b,c\n', "FILE, line 2: not CSV ("),
        (f"prompt,answer\n{'x' * 1_000_000},b\n", "FILE, line 2: not CSV (field larger than field limit"),
        (f"prompt,answer\n{'x' * 70_000},b\n", "'prompt' has 70,000 characters, and at most 65,536 can be put to"),
        ("prompt,answer\na\0,b\n", "'prompt' holds a character that is no text; is the file damaged, or UTF-16?"),
        ("prompt,answer\na,b\n".encode("utf-16"), "FILE, line 1: not UTF-8."),
        ("prompt,answer\na,b\n".encode("utf-16-le"), "is the file damaged, or UTF-16?"),
        ("prompt,answer\na,b\nCafé,c\n".encode("latin-1"), "FILE, line 3: not UTF-8. Save the file in that encoding"),
    ],
)
def test_what_is_no_table_is_refused_by_line_and_reason(refused, content, said):
    message = refused(content)
    assert said in message
    assert len(message) < 500


@pytest.mark.parametrize("mark", [";", "\t"])
def test_a_table_with_other_separators_says_how_to_get_one_with_commas(refused, mark):
    message = refused(f"prompt{mark}answer\na{mark}b\n")
    for remedy in ("Save the table again with a comma as the field separator", "Or replace each separator by a comma"):
        assert remedy in message


def test_every_damaged_row_is_told_in_one_message_up_to_a_limit(refused):
    lines = refused("prompt,answer\n" + "a,b,c\n" * 30).split("\n")
    assert [line.split(":")[0] for line in lines[:20]] == [f"FILE, line {number}" for number in range(2, 22)]
    assert lines[20:] == ["… and 10 more like these."]


DEEP = "[" * 200_000 + "]" * 200_000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("prompt", "not JSON ("),
        ('{"prompt": "a"', "not JSON ("),
        ('["prompt", "a"]', 'expected an object with keys, as in {"prompt": …}'),
        ('"prompt"', "expected an object"),
        ("3", "expected an object"),
        ("null", "expected an object"),
        ('{"answer": ["a", null]}', "'answer' should be a text or a list of texts"),
        ('{"prompt": ["a", "b"]}', "'prompt' should be a text"),
        ('{"answer": true}', "'answer' should be a text or a list of texts"),
        ('{"answer": {"a": 1}}', "'answer' should be"),
        ('{"answer": [["a"]]}', "'answer' should be"),
        ('{"answer": 1.50}', "'answer' should be"),
        ('{"answer": NaN}', "'answer' should be"),
        ('{"prompt": "a", "prompt": "b"}', "a key stands there twice"),
        ('{"prompt": "\\u0000"}', "holds a character that is no text"),
        ('{"prompt": "\\ud800"}', "holds a character that is no text"),
        (json.dumps({"prompt": "x" * 1_000_000}), "has 1,000,000 characters"),
        (f'{{"prompt": {DEEP}}}', "not JSON ("),
        (f'{{"prompt": {"9" * 5000}}}', "not JSON ("),
    ],
)
def test_what_is_no_object_of_texts_is_refused_by_line_and_reason(refused, line, said):
    message = refused('{"prompt": "fine"}\n' + line + "\n", "mine.jsonl")
    assert message.startswith("FILE, line 2")
    assert said in message
    assert len(message) < 500


def test_what_cannot_be_opened_is_refused(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    for name, said in [
        ("absent.csv", "cannot be read: No such file"),
        ("folder.csv", "cannot be read: it is no file"),
        ("pipe.csv", "cannot be read: it is no file"),
        ("a\0b.csv", "cannot be read: "),
        ("x" * 300, "cannot be read: "),
    ]:
        with pytest.raises(QuestionError, match=said):
            rows_of(tmp_path / name)


def test_a_file_of_more_than_64_mb_is_not_opened(tmp_path):
    with (tmp_path / "large.csv").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(QuestionError, match=r"large\.csv is larger than 64 MB"):
        rows_of(tmp_path / "large.csv")


def test_a_damaged_row_does_not_hide_the_others(tmp_path):
    (tmp_path / "mine.csv").write_text("prompt,answer\na\nb,c\n", encoding="utf-8")
    problems = Problems()
    assert [row.number for row in read_rows(tmp_path / "mine.csv", problems)] == [3]
    with pytest.raises(QuestionError, match="line 2"):
        problems.stop_if_any()


# What is refused: TOML.


def test_a_good_file_reads(tmp_path):
    (tmp_path / "set.toml").write_text(GOOD, encoding="utf-8")
    found = read_set_file(tmp_path / "set.toml")
    assert (found.name, found.items, list(found.directions)) == ("rivers", "rivers.csv", ["river-to-sea"])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "Rivers"', "", "title: Field required"),
        ('source = "An atlas."', 'source = ""', "source: "),
        ("version = 1", "version = 0", "version: "),
        ("version = 1", 'version = "1"', "version: "),
        ("version = 1", "version = 1\nitmes = 'a'", "itmes: Extra inputs are not permitted"),
        ("version = 1", "version = 1\npath = '/etc'", "path: Extra inputs are not permitted"),
        ('name = "rivers"', 'name = "../rivers"', "name: "),
        ("river-to-sea", '"a/b"', "directions.a/b"),
        ("wordings.statement", 'wordings."a/b"', "directions.river-to-sea.wordings.a/b"),
        ('wordings.statement = "The {river} flows into the"', "wordings = {}", "directions.river-to-sea.wordings: "),
        ("The {river}", "{river}" * 1000, "directions.river-to-sea.wordings.statement: "),
        ("rivers.csv", "../rivers.csv", "items: Value error, should name a file in the folder of this one or below it"),
        ("rivers.csv", "../../etc/passwd", "items: "),
        ("rivers.csv", "a/../../b.csv", "items: "),
        ("rivers.csv", "/etc/passwd", "items: "),
        ("rivers.csv", "r\\tvers.csv", "items: "),
        ("rivers.csv", "C:/rivers.csv", "items: "),
        ('"rivers.csv"', "'..\\rivers.csv'", "items: "),
        ('"rivers.csv"', "'\\\\host\\rivers.csv'", "items: "),
    ],
)
def test_a_wrong_key_is_named(refused_toml, old, new, said):
    assert old in GOOD
    message = refused_toml(GOOD.replace(old, new))
    assert message.startswith("FILE describes no question set:\n  ")
    assert said in message


def test_all_wrong_keys_are_named_at_once(refused_toml):
    message = refused_toml("name = 3\nversion = true\n" + "".join(f"k{n} = 1\n" for n in range(50)))
    assert "title: " in message and "name: " in message
    assert "… and " in message.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("name = [unclosed", "FILE is not TOML: "),
        ("a = 1\na = 2\n", "FILE is not TOML: "),
        ("a = " + "9" * 5000, "FILE is not TOML: "),
        ("a = " + DEEP, "FILE is not TOML: "),
        ("a = '\0'", "FILE is not TOML: "),
        ("# " + "x" * (2 << 20), "FILE is larger than 1 MB, which"),
        ('title = "Café"'.encode("latin-1"), "FILE, line 1: not UTF-8"),
        (GOOD.encode("utf-16"), "FILE, line 1: not UTF-8"),
        ("", "FILE describes no question set:"),
    ],
)
def test_what_is_no_toml_is_refused(refused_toml, content, said):
    message = refused_toml(content)
    assert said in message
    assert len(message) < 1000
