"""`layerwise runs`: what has been stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerwise.cli.console import Debug, results_console, say_note, write_document
from layerwise.errors import StoreError
from layerwise.lens_spec import LOGIT

if TYPE_CHECKING:
    import pyarrow as pa

    from layerwise.store.run import Run

app = typer.Typer(help="Stored runs: list, query and compare them, write their reports, verify and migrate them.")

_RunFolder = Annotated[Path, typer.Argument(help="The run's folder.")]
_ROWS, _CELL = 200, 40
"""How much of a query's result is shown: at most so many rows, and of each cell so many characters."""


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

    from layerwise.store.migration import migratable
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
            old = migratable(manifest.parent)
            cells = ["", f"schema {old}: migrate" if old else f"unreadable: {error}", "", ""]
        table.add_row(*(Text(one_line(cell, 60)) for cell in [str(manifest.parent), *cells]))
    if table.row_count == 0:
        raise StoreError(f"There are no runs in {folder}. `layerwise run STUDY` makes one.")
    results_console().print(table)


@app.command("report")
def report(
    run: _RunFolder,
    out: Annotated[Path | None, typer.Option(help="Folder for the report; by default the run's.")] = None,
    html: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Write the run's view as one HTML file; a report only with --out."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a run's report and figures again, from what is stored.

    Example: layerwise runs report runs/001_layers_and_logits --out experiments/001_layers_and_logits
    """
    from layerwise.report.markdown import write_report
    from layerwise.store.run import open_run

    stored = open_run(run)
    tell = say_note if html == "-" else print
    if html:
        from layerwise.view.page import page_html
        from layerwise.view.shown import shown_run

        write_document(page_html(shown_run(stored).document), html)
        tell(f"View: {html}")
    if out or not html:
        tell(f"Report: {write_report(stored, out or run)}")


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
            "trusted. Complete the run with --resume: it computes these again."
        )
    if not stored.complete:
        raise StoreError(f"{run} is whole as far as it goes, but incomplete. Complete it with --resume.")
    print(f"{run}: {len(stored.manifest['shards'])} shards, all as they were written")


@app.command("migrate")
def migrate(run: _RunFolder, debug: Debug = False) -> None:
    """Rewrite a run of an older version of layerwise in place; no number changes.

    Example: layerwise runs migrate runs/001_layers_and_logits
    """
    from layerwise.store.migration import migratable, migrate
    from layerwise.store.run import SCHEMA_VERSION

    old = migratable(run)
    shards = len(migrate(run).manifest["shards"])
    what = f"rewritten from schema {old}, {shards} shards, no number changed" if old else "nothing to do"
    print(f"{run}: schema {SCHEMA_VERSION}, {what}")


@app.command("query")
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the tables runs, questions and layers.")],
    runs: Annotated[list[Path] | None, typer.Argument(help="Runs; by default all in --folder.")] = None,
    folder: Annotated[Path, typer.Option(help="Where to look for runs.")] = Path("runs"),
    csv: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the rows as CSV.")] = None,
    json: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the rows as JSON.")] = None,
    debug: Debug = False,
) -> None:
    """Ask stored runs with SQL. DESCRIBE layers, for instance, shows a table's columns.

    Nothing is computed again, and nothing can be changed. "group" is a word of SQL and has to be quoted.

    Example: layerwise runs query "SELECT model, layer, avg(entropy_bits) FROM layers GROUP BY ALL ORDER BY ALL"
    """
    from layerwise.store.query import as_csv, as_json, query
    from layerwise.store.run import open_run

    found = query([open_run(run) for run in runs] if runs else list(_readable_runs(folder)), sql)
    if csv:
        write_document(as_csv(found), csv)
    if json:
        write_document(as_json(found, ascii_only=json == "-"), json)
    if not csv and not json:
        _show(found)


def _readable_runs(folder: Path) -> Iterator["Run"]:
    """Yield a folder's runs; those that cannot be read are named on stderr."""
    from layerwise.store.run import open_run

    manifests = sorted(folder.glob("*/manifest.json"))
    if not manifests:
        raise StoreError(f"There are no runs in {folder}. `layerwise run STUDY` makes one.")
    for manifest in manifests:
        try:
            yield open_run(manifest.parent)
        except StoreError as error:
            say_note(f"Left out: {error}")


def _show(found: "pa.Table") -> None:
    """Print the first rows, and as many columns as there is room for; what was left out is said on stderr."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    from layerwise.text import harmless, one_line

    if found.column_names == ["explain_key", "explain_value"]:  # of EXPLAIN: a drawing
        print(*map(harmless, found["explain_value"].to_pylist()), sep="\n")
        return
    titles = [one_line(name, _CELL) for name in found.column_names]
    rows = list(zip(*(map(_cell, column.to_pylist()) for column in found.slice(0, _ROWS).columns), strict=True))
    console, room, fitting = results_console(), 0, 0
    for place, title in enumerate(titles):
        room += 3 + max(cell_len(text) for text in [title, *(row[place] for row in rows)])
        fitting += room <= console.width or place == 0
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title, kind in list(zip(titles, found.schema.types, strict=True))[:fitting]:
        table.add_column(Text(title), justify="right" if _is_number(kind) else "left")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row[:fitting]))
    console.print(table)
    left_out = [f"{found.num_rows - len(rows):,} more rows"] if found.num_rows > len(rows) else []
    left_out += [f"{len(titles) - fitting} more columns"] if fitting < len(titles) else []
    if left_out:
        say_note(f"… and {' and '.join(left_out)}. --csv FILE and --json FILE write everything.")


def _cell(value: Any) -> str:
    from layerwise.text import one_line

    if value is None:
        return "null"
    return f"{value:.6g}" if isinstance(value, float) else one_line(str(value), _CELL)


def _is_number(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


@app.command("compare")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="A run of two models, or two runs of one model each.")],
    lens: Annotated[str, typer.Option(help="Which of the runs' lenses.")] = LOGIT.name,
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

    from layerwise.store.comparing import compare, sides
    from layerwise.store.run import open_run

    first, second = sides([open_run(run) for run in runs])
    found = compare(first, second, lens)
    if json:
        written = dumps(
            {"first": first.model, "second": second.model, "layers": [asdict(row) for row in found]}, indent=1
        )
        write_document(written + "\n", json)
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
