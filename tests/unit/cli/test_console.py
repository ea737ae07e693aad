"""Progress without a terminal: a line on stderr from time to time, and never one on stdout."""

import threading
import time

import pytest

from layerwise.cli import console
from layerwise.cli.console import ProgressLines, progress_bar


@pytest.fixture
def lines():
    return ProgressLines(100.0)


def test_what_is_done_within_seconds_prints_nothing(lines):
    assert lines.due(109) is None
    lines.tell("loading m", 0, 30)
    assert lines.due(109.9) is None
    assert lines.due(110) == "loading m: 0 of 30 (10 s)"


def test_nothing_is_said_where_nothing_was_told(lines):
    assert lines.due(1000) is None


def test_a_new_stage_has_its_line_ten_seconds_after_the_last(lines):
    lines.tell("loading m", 0, None)
    assert lines.due(112) == "loading m (12 s)"
    lines.tell("reading m", 0, 30)
    assert lines.due(115) is None
    lines.tell("reading m", 10, 30)
    assert lines.due(122) == "reading m: 10 of 30 (22 s)"


def test_long_work_that_tells_nothing_is_said_to_go_on_every_minute(lines):
    lines.tell("reading m", 0, 1234)
    said = [line for second in range(300) if (line := lines.due(100 + second))]
    assert said == [f"reading m: 0 of 1,234 ({at})" for at in ["10 s", *(f"{n} min 10 s" for n in range(1, 5))]]


def test_bytes_are_told_as_a_share(lines):
    lines.tell("Fetching m", 250_000_000, 1_000_000_000)
    assert lines.due(110) == "Fetching m: 25% (10 s)"


def test_lines_go_to_stderr_while_the_work_goes_on_and_end_with_it(monkeypatch, capsys):
    monkeypatch.setattr(console, "_BETWEEN_LINES_SECONDS", 0)
    with progress_bar(quiet=False) as progress:
        progress("loading \x1b[2Jm", 1, 2)
        time.sleep(1.5)  # the lines come from a thread that looks once a second
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("loading \\u{1b}[2Jm: 1 of 2 (")
    assert len(err.splitlines()) == 1


def test_the_thread_ends_with_an_error_too():
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt), progress_bar(quiet=False):
        assert threading.active_count() == before + 1
        raise KeyboardInterrupt
    assert threading.active_count() == before


def test_quiet_is_quiet(monkeypatch, capsys):
    monkeypatch.setattr(console, "_BETWEEN_LINES_SECONDS", 0)
    before = threading.active_count()
    with progress_bar(quiet=True) as progress:
        progress("loading m", 1, 2)
        assert threading.active_count() == before
    assert capsys.readouterr() == ("", "")
