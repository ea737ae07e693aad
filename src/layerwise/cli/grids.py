"""Grids as tables in the terminal, and what commands that make them are given."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.cli.console import say_note, write_document
from layerwise.text import visible

if TYPE_CHECKING:
    import numpy as np
    from rich.console import Console
    from rich.text import Text

    from layerwise.causal.outcomes import Outcome
    from layerwise.causal.written import Written
    from layerwise.types import Token

Json = Annotated[str | None, typer.Option(metavar="FILE|-", help="Write everything as JSON.")]
Figures = Annotated[Path | None, typer.Option(metavar="DIR", help="Write every figure, as PNG and SVG.")]

CELL = 6
"""Columns of the terminal that a cell takes."""

_BESIDE = 8
"""Those that a row's name takes."""

_BLUE, _ORANGE = (0, 114, 178), (230, 159, 0)

_FAINT = 0.05
"""Of the strongest colour: what is weaker has none."""


def write_found(found: "Written", json: str | None, figures: Path | None) -> bool:
    """Write what was found where it was asked for; return whether stdout is still free."""
    if figures is not None:
        found.write_figures(figures)
        say_note(f"Figures written to {figures}")
    if json == "-":
        write_document(found.dumps() + "\n", json)
    elif json is not None:
        found.save(json)
        say_note(f"Numbers written to {json}")
    return json != "-"


def tokens_text(tokens: "Sequence[Token]") -> "Text":
    """Return tokens as they are shown, with spaces between."""
    from rich.text import Text

    return Text(" ").join(Text(visible(token.text)) for token in tokens)


def print_outcome(console: "Console", name: str, outcome: "Outcome", answer: "Token", *, differs: bool) -> None:
    """Print what a run says of an answer, and of the difference to another where there is one."""
    from rich.text import Text

    difference = f", logit difference {outcome.logit_difference:+.2f}" if differs else ""
    says = f"{name}: log-probability of {visible(answer.text)} {outcome.answer_logprob:.2f}{difference}, says "
    console.print(Text(says, "dim") + Text(visible(outcome.top)))


def percent(value: float) -> str:
    """Return a share as a table has it."""
    return f"{round(100 * value)}"


def print_grid(
    console: "Console",
    heading: str,
    blocks: Sequence[int],
    titles: Sequence[str],
    values: "np.ndarray",
    *,
    spread: "np.ndarray | None" = None,
    written: Callable[[float], str] = percent,
    limit: float = 1.0,
    width: int = CELL,
) -> None:
    """Print a grid as a table, with as many columns as there is room for: those in which most happens.

    Args:
        console: where to.
        heading: what its numbers are.
        blocks: of each row.
        titles: of each column.
        values: [row, column]; NaN where there is nothing.
        spread: of the same shape: what stands behind ±, where there is any.
        written: a number as it is shown.
        limit: the number from which on colours are no stronger.
        width: of a column.
    """
    import numpy as np
    from rich import box
    from rich.table import Table
    from rich.text import Text

    room = max(1, (console.width - _BESIDE) // width)
    strength = np.nan_to_num(np.abs(values)).max(axis=0, initial=0)
    shown = sorted(sorted(range(len(titles)), key=lambda column: -strength[column])[:room])
    console.print(Text(heading, "bold"))
    table = Table(box=box.SIMPLE_HEAD, padding=0, collapse_padding=True, pad_edge=False)
    table.add_column("block", justify="right", width=_BESIDE - 2)
    for column in shown:
        table.add_column(Text(titles[column]), justify="right", width=width - 1, no_wrap=True, overflow="crop")
    for row, block in enumerate(blocks):
        cells = [_cell(float(values[row, column]), written, limit) for column in shown]
        for cell, column in zip(cells, shown, strict=True):
            if spread is not None and np.isfinite(spread[row, column]):
                cell.append(f" ±{written(float(spread[row, column]))}")
        table.add_row(str(block), *cells)
    console.print(table)
    if left := len(titles) - len(shown):
        say_note(
            f"… and {left} more columns, in which less happens. --json FILE writes everything, --figures DIR draws it."
        )


def _cell(value: float, written: Callable[[float], str], limit: float) -> "Text":
    from rich.text import Text

    if value != value:  # noqa: PLR0124 -- NaN: there is nothing
        return Text("–", "dim")
    strength = min(1.0, abs(value) / limit)
    red, green, blue = (round(255 - strength * (255 - part)) for part in (_BLUE if value > 0 else _ORANGE))
    ink = "white" if strength > 0.6 and value > 0 else "black"
    return Text(written(value), f"{ink} on rgb({red},{green},{blue})" if strength >= _FAINT else "dim")
