"""`layerwise models`: which models there are, and how they stand here."""

from typing import Annotated

import typer

from layerwise.cli.console import Debug, Device, Dtype, Memory, Quiet, Revision, progress_bar, results_console, say_note

app = typer.Typer(help="Models that are known by name, and any other's facts.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models()


@app.command("list")
def list_models(debug: Debug = False) -> None:
    """List the models that have a name here: source, size, whether they are present and fit.

    Example: layerwise models list
    """
    from rich import box
    from rich.table import Table

    from layerwise.models.catalogue import known_models
    from layerwise.models.device import dtype_name

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("name", "source", "parameters", "download", "present", "fits here"):
        table.add_column(title, justify="right" if title in ("parameters", "download") else "left")
    for model in known_models():
        place = model.placement
        table.add_row(
            model.name,
            model.source,
            f"{model.parameters / 1e6:,.0f} M",
            f"{model.download_bytes / 1e9:.1f} GB",
            "yes" if model.present else "no",
            f"{place.device.type}, {dtype_name(place.dtype)}" if place else "no",
        )
    console = results_console()
    console.print(table)
    console.print("Also any hub id (organisation/name), folder in the hub's layout, or GGUF file.", style="dim")


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Bundled name, alias, hub id, folder or GGUF file.")],
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Load a model and show what it is.

    Example: layerwise models show smollm2-135m
    """
    from dataclasses import asdict

    from layerwise.text import harmless
    from layerwise.tracing.model import load

    with progress_bar(quiet) as progress:
        info = load(name, revision=revision, device=device, dtype=dtype, memory=memory, progress=progress).info
    for key, value in asdict(info).items():
        shown = f"{value:,}" if isinstance(value, int) else "" if value is None else harmless(str(value))
        print(f"{key:15} {shown}")


@app.command("pull")
def pull(
    names: Annotated[list[str] | None, typer.Argument(help="Models to fetch; by default the bundled ones.")] = None,
    revision: Revision = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fetch models, check their sums and prepare them, so that later loads take seconds.

    Example: layerwise models pull gemma-3-270m
    """
    from layerwise.models.bundled import BUNDLED, is_pulled
    from layerwise.models.checkpoint import locate
    from layerwise.models.names import resolve

    for name in names or list(BUNDLED):
        source = resolve(name, revision)
        if source.kind == "bundled" and not is_pulled(source.location) and BUNDLED[source.location].licence_note:
            say_note(BUNDLED[source.location].licence_note)
        say_note(f"{name}: fetched and prepared once, which takes a minute or two")
        with progress_bar(quiet) as progress:
            checkpoint = locate(source, progress)
        print(f"{name}: ready in {checkpoint.folder}")
