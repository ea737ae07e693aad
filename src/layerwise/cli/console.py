"""Where output goes: results to stdout, progress and warnings to stderr."""

import contextlib
import io
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.errors import StoreError
from layerwise.text import harmless
from layerwise.types import Progress

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH_IN_FILES = 160

_BETWEEN_LINES_SECONDS = 10
_SAME_LINE_SECONDS = 60
"""Between lines that say the same: the work goes on, and a log stays short."""
_MOST_COUNTED = 1_000_000
"""Beyond it are bytes, which a share says better."""

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Memory = Annotated[
    str, typer.Option(help="What this process may take, as in 4GB; larger models are streamed from disk.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run the Python code that comes with an unknown architecture.")
]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit on the hub.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")]


def encode_results(encoding: str | None = None) -> None:
    """Let stdout write what its encoding lacks as numbers (stderr always does), and change the encoding if asked to."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding=encoding, errors="backslashreplace")


def write_document(text: str, where: str) -> None:
    """Write what programs read to a file, or for ``-`` to stdout: in UTF-8 either way.

    A terminal gets it in its own encoding, and nothing in it can steer that. Raises StoreError if a file cannot be
    written.
    """
    from layerwise.files import write_text_whole

    if where != "-":
        try:
            write_text_whole(Path(where), text)
        except OSError as error:
            raise StoreError(f"{where} could not be written: {error.strerror or error}.") from error
    elif sys.stdout.isatty():
        sys.stdout.write(harmless(text))
    else:
        encode_results("utf-8")
        sys.stdout.write(text)


def results_console() -> "Console":
    """Return the console for results; in a pipe or file it is wide enough for every column."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_IN_FILES)


def say_error(message: str) -> None:
    """Print an error on stderr, with nothing in it that could steer the terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    console.print("Error: ", style="bold red", end="")
    console.print(harmless(message), markup=False, highlight=False, soft_wrap=not sys.stderr.isatty())


def say_note(message: str) -> None:
    """Print a line on stderr."""
    print(harmless(message), file=sys.stderr)


@contextlib.contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """Yield a function that shows (what, done, total) on stderr: as a bar, or line by line where it is no terminal."""
    if quiet:
        yield lambda what, done, total: None
        return
    if not sys.stderr.isatty():
        with _progress_lines() as tell:
            yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(what: str, done: int, total: int | None) -> None:
            bar.update(task, description=harmless(what), completed=done, total=total)

        yield show


@contextlib.contextmanager
def _progress_lines() -> Iterator[Progress]:
    """Yield a function that notes (what, done, total); from time to time a line on stderr says it.

    The lines have a thread of their own: long work may tell nothing for minutes.
    """
    lines, over = ProgressLines(time.monotonic()), threading.Event()

    def say() -> None:
        while not over.wait(1):
            if line := lines.due(time.monotonic()):
                say_note(line)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield lines.tell
    finally:
        over.set()
        thread.join()


class ProgressLines:
    """Progress as lines for a log, few enough to read: which one is due, and when."""

    def __init__(self, start: float) -> None:
        self._start = start
        self._told: tuple[str, int, int | None] = ("", 0, None)
        self._said: tuple[str, int, int | None] | None = None
        self._said_at = start

    def tell(self, what: str, done: int, total: int | None) -> None:
        """Note where the work is."""
        self._told = (what, done, total)

    def due(self, now: float) -> str | None:
        """Return the line to print at a time in seconds, or None."""
        told = self._told
        wait = _SAME_LINE_SECONDS if told == self._said else _BETWEEN_LINES_SECONDS
        if not told[0] or now - self._said_at < wait:
            return None
        self._said, self._said_at = told, now
        return f"{_told_in_words(*told)} ({_duration(now - self._start)})"


def _told_in_words(what: str, done: int, total: int | None) -> str:
    if not total:
        return what
    return f"{what}: {done / total:.0%}" if total > _MOST_COUNTED else f"{what}: {done:,} of {total:,}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
