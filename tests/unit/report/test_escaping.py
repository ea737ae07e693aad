"""Whatever stands in a report's Markdown is read as the same text, by an editor's eye and by a parser."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from layerwise.report.escaping import code_span, in_table, plain, prose
from layerwise.text import one_line

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

MARKUP = [
    "`",
    "``",
    "|",
    "\\",
    "\\|",
    "*",
    "**",
    "_",
    "__",
    "~~",
    "[",
    "](",
    ")",
    "]:",
    "<",
    ">",
    "<b>",
    "</b>",
    "<!--",
]
MARKUP += [
    "-->",
    "<?",
    "&",
    "&lt;",
    "&#124;",
    "#",
    " # ",
    "!",
    "![",
    "http://h",
    "www.h.i",
    "a@b.c",
    ":x:",
    "$",
    "{{",
    "}}",
]
MARKUP += ["- ", "1. ", "> ", "---", "===", "    ", "</code>", "<code>", "<script>", "\n", "\x1b", "\u202e", "\ud800"]

nasty = st.lists(st.sampled_from([*MARKUP, " ", "a", "B", "7", "é", "␣"]), max_size=12).map("".join) | st.text()

PLACES = {
    "heading": "# {}\n",
    "item": "- **x {0}**, {0}: {0} leads ({0}).\n",
    "sentence": "x {0} or {0} *y*\n",
    "line": "{} ran in float32\n",
}
TABLE = "| a | b |\n|---|---|\n| {0} | **no**: {0} |\n| {0} {0} · {0} | [{0}](a.md) |\n"


def read(markdown):
    """Return what a reader sees of each paragraph or cell, and all elements in which it stands, code apart."""
    tokens = READER.parse(markdown)
    lines = [token.children or [] for token in tokens if token.type == "inline"]
    parts = [part for token in tokens for part in (token.children or [] if token.type == "inline" else [token])]
    elements = [(part.type, part.attrs, part.content) for part in parts if part.type not in ("text", "code_inline")]
    # A paragraph or a cell has no spaces at its ends.
    texts = ["".join(part.content for part in line if part.type in ("text", "code_inline")).strip() for line in lines]
    return texts, [each for each in elements if each[2] not in ("<code>", "</code>")]


def expect_only_text(template, made, text):
    """Fail unless `made` is read as the text wherever the template has it, and makes no element."""
    shown, elements = read(template.format(made))
    placed, own = read(template.format("PLACE"))
    assert shown == [each.replace("PLACE", text).strip() for each in placed]
    assert elements == own


@pytest.mark.parametrize("template", PLACES.values(), ids=PLACES.keys())
@given(text=nasty)
def test_a_code_span_is_read_as_its_text(template, text):
    assume(text)
    expect_only_text(template, code_span(text), one_line(text, limit=2000))


@given(text=nasty)
def test_a_code_span_in_a_table_is_read_as_its_text(text):
    assume(text)
    expect_only_text(TABLE, in_table(code_span(text)), one_line(text, limit=2000))


@pytest.mark.parametrize("place", ["heading", "sentence"])
@given(text=nasty)
def test_a_plain_name_is_read_as_its_text(place, text):
    expect_only_text(PLACES[place], plain(text), one_line(text, limit=2000))


@given(text=nasty)
def test_a_plain_name_in_a_table_is_read_as_its_text(text):
    expect_only_text(TABLE, in_table(plain(text)), one_line(text, limit=2000))


@given(text=nasty)
def test_no_tag_is_left_that_a_reader_could_take_out_before_it_looks_for_code(text):
    for made in (code_span(text), plain(text), prose(text)):
        assert not re.search(r"<(?=[A-Za-z/!?])(?!/?code>)", made)


@pytest.mark.parametrize(
    ("text", "span", "name"),
    [
        ("0.80 .. 0.85", "`0.80 .. 0.85`", "0.80 .. 0.85"),
        ("> 0.1", "`> 0.1`", "> 0.1"),
        ("direction_difference", "`direction_difference`", "direction_difference"),
        ("What is 2 * 3 (in %)? 10:30!", "`What is 2 * 3 (in %)? 10:30!`", "What is 2 * 3 (in %)? 10:30!"),
        ("org/model-1.5", "`org/model-1.5`", "org/model-1.5"),
        ("\x1b\\n", "`\\u{1b}\\n`", "\\u{1b}\\n"),
        ("<|im_end|>", "`<|im_end|>`", "<|im_end|>"),
        ("a`b", "``a`b``", "a\\`b"),
        ("`", "`` ` ``", "\\`"),
        ("<s>", "<code>&lt;s></code>", "&lt;s>"),
        ("p < 5 & *so* on", "`p < 5 & *so* on`", "p < 5 & \\*so\\* on"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_only_what_could_be_markup_is_escaped(text, span, name):
    assert (code_span(text), plain(text)) == (span, name)


def test_a_bar_ends_no_cell():
    assert in_table(code_span("<|im_end|>")) == r"`<\|im_end\|>`"


@pytest.mark.parametrize("show", [code_span, plain])
@given(text=nasty)
def test_nothing_unseen_is_left(show, text):
    assert all(character.isprintable() for character in show(text))


def test_a_studys_own_markdown_stays():
    assert prose("*p* < 0.05\n\n- <b>x</b>") == "*p* < 0.05\n\n- &lt;b>x&lt;/b>"
