"""`layerwise reference`: published results beside one's own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.cli.console import Debug, results_console

if TYPE_CHECKING:
    from rich.console import Console

    from layerwise.reference import Finding, ModelComparison

app = typer.Typer(help="Published per-layer results to compare a run with.", no_args_is_help=True)

_VERDICTS = ("reproduces", "differs", "known wrong", "not in this run")


@app.callback()
def _group() -> None:
    """Keep `compare` a command of its own, with others to come."""


@app.command("compare")
def compare(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    csv: Annotated[Path | None, typer.Option(help="Write every figure, one per row, to this file.")] = None,
    debug: Debug = False,
) -> None:
    """Say, model by model, which published figures a run reproduces, and which are known to be wrong.

    Example: layerwise reference compare runs/001_layers_and_logits
    """
    from layerwise import reference
    from layerwise.errors import StoreError
    from layerwise.files import written_whole
    from layerwise.store.run import open_run

    stored = open_run(run)
    comparisons = reference.compare(stored.questions(), stored.layers())
    console = results_console()
    for comparison in comparisons:
        _print(console, comparison)
    if csv is not None:
        try:
            with written_whole(csv) as scratch:
                reference.to_frame(comparisons).to_csv(scratch, index=False)
        except OSError as error:
            raise StoreError(f"{csv} could not be written: {error.strerror or error}.") from error
        print(f"Every figure: {csv}")


def _print(console: "Console", comparison: "ModelComparison") -> None:
    """Print counts by file and verdict, what differs, and why figures are known to be wrong."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from layerwise.text import one_line

    console.print(Text(one_line(comparison.model), "bold"))
    if comparison.note:
        console.print(Text(f"  {comparison.note}\n"))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("published in", *_VERDICTS):
        table.add_column(title, justify="left" if title == "published in" else "right")
    for source in dict.fromkeys(finding.source for finding in comparison.findings):
        mine = [finding.verdict for finding in comparison.findings if finding.source == source]
        table.add_row(source, *(str(mine.count(verdict) or "") for verdict in _VERDICTS))
    console.print(table)
    for finding in comparison.findings:
        if finding.verdict == "differs":
            console.print(Text(f"  differs: {_line(finding)}"))
    for why in dict.fromkeys(f.note for f in comparison.findings if f.verdict == "known wrong"):
        example = next(f for f in comparison.findings if f.note == why)
        same = sum(f.note == why for f in comparison.findings) - 1
        console.print(Text(f"  known wrong: {_line(example)}" + (f" (and {same} more)" if same else "")))
    console.print()


def _line(finding: "Finding") -> str:
    from layerwise.text import one_line

    ours = "not in this run" if finding.ours is None else one_line(str(finding.ours))
    note = f": {finding.note}" if finding.note else ""
    within = f" (held to {finding.tolerance})" if finding.tolerance else ""
    return f"{finding.figure}: published {one_line(str(finding.published))}, here {ours}{within}{note}"
