import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerwise.text import harmless, one_line, visible

NASTY = {
    "escape sequence": "\x1b[31mred\x1b[0m",
    "NUL": "a\x00b",
    "C1 control": "\x9b31m",
    "right-to-left override": "\u202egnp.exe",
    "isolate": "\u2066a\u2069",
    "zero width": "a\u200bb\ufeff",
    "line separator": "a\u2028b",
    "lone surrogate": "\ud800",
    "private use": "\ue000",
    "carriage return": "50%\r100%",
    "no-break space": "a\u00a0b",
}


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY.keys())
@pytest.mark.parametrize("show", [visible, one_line, harmless])
def test_nothing_that_steers_a_terminal_survives(show, text):
    shown = show(text)
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for c in shown)
    assert "\u00a0" not in shown
    assert "\\u{" in shown or "␍" in shown


def test_visible_shows_white_space():
    assert visible(" Berlin") == "␣Berlin"
    assert visible("\n\t\r") == "↵⇥␍"
    assert visible("\x1b[0m") == "\\u{1b}[0m"
    assert visible("Äß→日本") == "Äß→日本"


def test_visible_cuts_long_text_and_says_so():
    assert visible("a" * 40) == "a" * 40
    assert visible("a" * 41) == "a" * 40 + "…"
    assert visible("abcdef", limit=3) == "abc…"
    assert len(visible("\x1b" * 5000)) <= 41


def test_harmless_keeps_running_text_readable():
    text = "Question: What?\n\tAnswer: Berlin, 2 + 2"
    assert harmless(text) == text


@given(st.text())
def test_harmless_is_printable_and_changes_nothing_twice(text):
    once = harmless(text)
    assert harmless(once) == once
    assert all(c in "\n\t" or c.isprintable() for c in once)


@given(st.text())
def test_visible_is_one_printable_line(text):
    assert visible(text).isprintable()


def test_one_line_keeps_spaces_and_shows_line_ends():
    assert one_line("a b\nc\u202e") == "a b↵c\\u{202e}"
