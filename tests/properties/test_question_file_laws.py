"""Laws of question files: whatever a file holds, it is read as questions or refused with its name.

People write such files by hand, export them from spreadsheets and get them from others. Nothing else
may happen: no other exception, no hang, no file read but the ones asked for.
"""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from layerwise.errors import QuestionError
from layerwise.questions.sets import QuestionSet, open_set

TOML = b"""\
name = "rivers"
version = 1
title = "Rivers"
description = '''Which "sea".'''
source = "An atlas."
items = "rivers.csv"

[directions.river-to-sea]
answer = "sea"
wordings = { statement = "The {river} flows into the", question = "Where does the {river} end? In the" }
[directions.sea-to-river]
answer = "river"
[directions.sea-to-river.wordings]
statement = "Of {sea} and {item}"
"""
TABLE = b"""\
item,river,sea,group
elbe,Elbe|Labe,North Sea,europe
oder,"Oder, the",Baltic Sea|Baltic,europe
po,Po,Adriatic,
"""
CSV = b"""\
item,prompt,answer,alternatives,group
berlin,"The capital of ""Germany"" is",Berlin,Paris|Rome,cities
lunch,"For lunch
we had",soup|broth,,
"""
JSONL = b"""\
{"prompt": "Two and two make", "answer": ["four", "4"], "item": "2+2"}
{"prompt": "One \\u2028 and one make", "answer": 2, "alternatives": ["3"], "group": "sums"}
"""
PIECES = [
    *(b"|", b",", b'"', b"'''", b"\n", b"\r", b"\0", b"{", b"}", b" ", b"=", b"[", b"]", b"\x85", b"\xe2\x80\xa8"),
    *(b"{}", b"{0}", b"{item.__class__}", b"{river!r}", b"{river:>999999999}", b"../", b"/etc/passwd"),
    *(b"\\ud800", b"\\u0000", b"\xff\xfe", b"\xef\xbb\xbf", b"null", b"1e999", b"\x1b[2J"),
    *(b"x" * 200_000, b"[" * 5000, b"a." * 5000 + b"a = 1\n", b"9" * 5000),
]

examples = settings(max_examples=150)


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """One folder for a test's examples: Hypothesis runs one function many times."""
    return tmp_path_factory.mktemp("questions")


def read_or_refuse(name: str, here: Path) -> QuestionSet | None:
    """Return the set, checked to be one, or None where the file is refused by its name."""
    try:
        found = open_set(name, here)
    except QuestionError as error:
        assert str(here) in str(error)
        assert len(str(error)) < 40_000
        assert all(line.isprintable() for line in str(error).split("\n"))
        return None
    assert found.questions
    assert len({question.id for question in found.questions}) == len(found.questions)
    assert len({question.prompt for question in found.questions}) == len(found.questions)
    for question in found.questions:
        assert question.prompt.strip() and question.answers and question.item
        assert not question.prompt.endswith(" ")
        assert not set(question.answers) & set(question.alternatives)
        for text in question.answers + question.alternatives:
            assert text[0] == " " and text.strip()
        assert "\0" not in question.prompt
    assert len(found.sum) == 64
    assert found.some(items=1)
    json.dumps([question.prompt for question in found.questions]).encode()
    return found


def damaged(data: st.DataObject, whole: bytes) -> bytes:
    """Return a file with up to four changes."""
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "bytes", "delete", "repeat"])):
            case "flip" if at < len(content):
                content[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del content[at:]
            case "insert":
                content[at:at] = data.draw(st.sampled_from(PIECES))
            case "bytes":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
            case "delete":
                del content[at : at + data.draw(st.integers(1, 16))]
            case "repeat":
                content[at:at] = content[at : at + data.draw(st.integers(1, 60))]
    return bytes(content)


def test_the_files_that_are_damaged_below_are_whole(here):
    for name, content in {"rivers.toml": TOML, "rivers.csv": TABLE, "mine.csv": CSV, "mine.jsonl": JSONL}.items():
        (here / name).write_bytes(content)
    sizes = [len(open_set(name, here).questions) for name in ("rivers.toml", "mine.csv", "mine.jsonl")]
    assert sizes == [9, 2, 2]


@examples
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@pytest.mark.parametrize("name", ["any.csv", "any.jsonl", "any.toml"])
def test_any_content_is_read_or_refused(here, name, content):
    (here / name).write_bytes(content)
    read_or_refuse(name, here)


@examples
@given(data=st.data())
@pytest.mark.parametrize(("name", "whole"), [("mine.csv", CSV), ("mine.jsonl", JSONL)])
def test_damaged_questions_are_read_or_refused(here, name, whole, data):
    (here / name).write_bytes(damaged(data, whole))
    read_or_refuse(name, here)


@examples
@given(data=st.data())
@pytest.mark.parametrize("part", ["rivers.toml", "rivers.csv"])
def test_a_damaged_set_is_read_or_refused(here, part, data):
    (here / "rivers.toml").write_bytes(TOML)
    (here / "rivers.csv").write_bytes(TABLE)
    (here / part).write_bytes(damaged(data, TOML if part == "rivers.toml" else TABLE))
    read_or_refuse("rivers.toml", here)


_words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


@examples
@given(rows=st.dictionaries(_words, st.tuples(_words, _words), min_size=1, max_size=6))
@example(rows={"|": ("a|b", "c")})
@example(rows={"a": ("\\|", "c"), "b": ("\\", "d")})
def test_what_is_written_as_json_is_read_back(here, rows):
    """An unusual prompt or answer comes back as it was, if only it is not empty; in a list a bar is a character."""
    lines = [
        json.dumps({"prompt": prompt, "answer": [answer], "item": item}) for prompt, (answer, item) in rows.items()
    ]
    (here / "back.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = read_or_refuse("back.jsonl", here)
    if found is not None:
        assert [question.prompt for question in found.questions] == list(rows)
        for question, (answer, item) in zip(found.questions, rows.values(), strict=True):
            assert question.item == item
            assert question.answers == (f" {answer.strip()}",)


_FILLED = {"{river}": "{sea}{item.__class__}", "{item}": "elbe", "{{": "{", "}}": "}", "a": "a", "é": "é", " ": " "}
_REFUSED = ["{", "}", "{}", "{0}", "{river.x}", "{river[0]}", "{river!s}", "{river:9}", "{river:{item}}", "{sea.x}"]


@examples
@given(pieces=st.lists(st.sampled_from([*_FILLED, *_FILLED, *_REFUSED]), max_size=8))
def test_a_template_fills_in_cells_as_they_are_or_is_refused(here, pieces):
    """It reaches the table's cells and nothing else, and braces in a cell are text."""
    (here / "rivers.csv").write_text("item,river,sea\nelbe,{sea}{item.__class__},North Sea\n", encoding="utf-8")
    toml = TOML.decode().replace("The {river} flows into the", "".join(pieces))
    (here / "rivers.toml").write_text(toml, encoding="utf-8")
    found = read_or_refuse("rivers.toml", here)
    if set(pieces) <= _FILLED.keys():
        expected = "".join(_FILLED[piece] for piece in pieces)
        fine = not expected.endswith(" ") and not {"{river}", "{item}"}.isdisjoint(pieces)
        assert (found.questions[0].prompt if found else None) == (expected if fine else None)
    elif found is not None:  # two single braces are one that is text
        assert "North" not in found.questions[0].prompt and "class '" not in found.questions[0].prompt
