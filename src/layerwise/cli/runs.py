"""`layerwise runs`: what has been stored."""

from pathlib import Path
from typing import Annotated

import typer

from layerwise.cli.console import Debug, results_console
from layerwise.errors import StoreError

app = typer.Typer(help="Stored runs: list them, write their reports, verify and compare them.")

_RunFolder = Annotated[Path, typer.Argument(help="The run's folder.")]


@app.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_runs()


@app.command("list")
def list_runs(
    folder: Annotated[Path, typer.Argument(help="Where to look.")] = Path("runs"), debug: Debug = False
) -> None:
    """List the runs in a folder.

    Example: layerwise runs list runs
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from layerwise.store.run import open_run
    from layerwise.text import one_line

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("run", "study", "status", "models", "updated"):
        table.add_column(title)
    for manifest in sorted(folder.glob("*/manifest.json")):
        try:
            run = open_run(manifest.parent)
            cells = [run.name, run.manifest["status"], ", ".join(run.models), run.manifest["updated"]]
        except StoreError as error:
            cells = ["", f"unreadable: {error}", "", ""]
        table.add_row(*(Text(one_line(cell, 60)) for cell in [str(manifest.parent), *cells]))
    if table.row_count == 0:
        raise StoreError(f"There are no runs in {folder}. `layerwise run STUDY` makes one.")
    results_console().print(table)


@app.command("report")
def report(
    run: _RunFolder,
    out: Annotated[Path | None, typer.Option(help="Folder for the report; by default the run's.")] = None,
    debug: Debug = False,
) -> None:
    """Write a run's report and figures again, from what is stored.

    Example: layerwise runs report runs/001_layers_and_logits --out experiments/001_layers_and_logits
    """
    from layerwise.report.markdown import write_report
    from layerwise.store.run import open_run

    print(f"Report: {write_report(open_run(run), out or run)}")


@app.command("verify")
def verify(run: _RunFolder, debug: Debug = False) -> None:
    """Compare every file of a run with the sum noted when it was written.

    Example: layerwise runs verify runs/001_layers_and_logits
    """
    from layerwise.store.run import open_run

    stored = open_run(run)
    if bad := stored.damaged_files():
        raise StoreError(
            f"{len(bad)} files of {run} are not what was written: {', '.join(bad)}. Numbers from them cannot be "
            "trusted. Delete their shards' folders and complete the run with --resume."
        )
    if not stored.complete:
        raise StoreError(f"{run} is whole as far as it goes, but incomplete. Complete it with --resume.")
    print(f"{run}: {len(stored.manifest['shards'])} shards, all as they were written")


@app.command("compare")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="A run of two models, or two runs of one model each.")],
    lens: Annotated[str, typer.Option(help="Which of the runs' lenses.")] = "logit",
    json: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the comparison as JSON.")] = None,
    debug: Debug = False,
) -> None:
    """Show where two models' predictions part, layer by layer: one model from two files, for instance.

    Divergences are lower bounds, from the likeliest tokens that the runs kept: a study with a larger
    top_k has tighter ones.

    Example: layerwise runs compare runs/q4 runs/q8
    """
    from dataclasses import asdict
    from json import dumps

    from layerwise.files import write_text_whole
    from layerwise.store.comparing import compare, sides
    from layerwise.store.run import open_run

    first, second = sides([open_run(run) for run in runs])
    found = compare(first, second, lens)
    if json:
        written = dumps(
            {"first": first.model, "second": second.model, "layers": [asdict(row) for row in found]}, indent=1
        )
        print(written) if json == "-" else write_text_whole(Path(json), written + "\n")
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from layerwise.text import one_line

    titles = (
        "layer",
        "KL ≥ bits (median)",
        "largest",
        "in question",
        "same top",
        "Δ entropy",
        "same rank",
        "largest Δ rank",
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, justify="left" if title == "in question" else "right")
    for row in found:
        cells = [
            str(row.layer),
            f"{row.median_kl_bits:.4f}",
            f"{row.largest_kl_bits:.4f}",
            row.largest_question,
            f"{row.same_top:.0%}",
            f"{row.entropy_change_bits:+.3f}",
            "" if row.same_rank is None else f"{row.same_rank:.0%}",
            "" if row.largest_rank_change is None else f"{row.largest_rank_change:+d}",
        ]
        table.add_row(*(Text(one_line(cell, 40)) for cell in cells))
    console = results_console()
    console.print(
        Text(one_line(f"{first.model} → {second.model}, {found[0].questions} questions, {lens} lens", 120), "bold")
    )
    console.print(table)
