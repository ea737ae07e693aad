"""Where output goes: results to stdout, progress and warnings to stderr."""

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.text import harmless
from layerwise.types import Progress

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH_IN_FILES = 160

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
    """Yield a function that shows (what, done, total) on stderr, where there is a terminal and it may."""
    if quiet or not sys.stderr.isatty():
        yield lambda what, done, total: None
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
