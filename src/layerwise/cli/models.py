"""`layerwise models`: which models there are, and how they stand here."""

from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.cli.console import Debug, Device, Dtype, Memory, Quiet, Revision, progress_bar, results_console, say_note

if TYPE_CHECKING:
    from layerwise.models.sources.names import Source

ListCapabilities = Annotated[
    bool, typer.Option("--capabilities", help="What can be read of which decoder architecture, and why not.")
]

app = typer.Typer(help="Models that are known by name, and any other's facts.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def _default(context: typer.Context, capabilities: ListCapabilities = False) -> None:
    if context.invoked_subcommand is None:
        list_models(capabilities)


@app.command("list")
def list_models(capabilities: ListCapabilities = False, debug: Debug = False) -> None:
    """List the models that have a name here: source, size, whether they are present and fit.

    Example: layerwise models list
    """
    if capabilities:
        _list_capabilities()
        return
    from rich import box
    from rich.table import Table

    from layerwise.models.machine.device import dtype_name
    from layerwise.models.sources.catalogue import known_models

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


def _list_capabilities() -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from layerwise.models.sources.capabilities import YES, capabilities

    known = capabilities()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("architecture", "lens", "streamed", "shared beginnings", "GGUF", "TransformerLens's bridge"):
        table.add_column(title, no_wrap=title == "architecture", overflow="fold")
    for row in known.rows:
        cells = (row.architecture, row.lens, row.streamed, row.shared_beginnings, row.gguf, row.bridge)
        table.add_row(*map(Text, cells))
    console = results_console()
    console.print(table)
    console.print(
        f"{sum(row.lens == YES for row in known.rows)} of {len(known.rows)} are read. Tried with tiny random models, "
        f"transformers {known.transformers} and TransformerLens {known.transformer_lens}.",
        style="dim",
    )


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Bundled name, alias, hub id, folder or GGUF file, or random:NAME.")],
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Load a model and show what it is; of a GGUF file also what it says about itself.

    Example: layerwise models show smollm2-135m
    """
    from dataclasses import asdict

    from layerwise.models.sources.names import resolve
    from layerwise.text import harmless
    from layerwise.tracing.loading import load

    source = resolve(name, revision)
    try:
        with progress_bar(quiet) as progress:
            info = load(name, revision=revision, device=device, dtype=dtype, memory=memory, progress=progress).info
        for key, value in asdict(info).items():
            shown = f"{value:,}" if isinstance(value, int) else "" if value is None else harmless(str(value))
            print(f"{key:15} {shown}")
    finally:  # the header also tells of a model that cannot be loaded
        _print_gguf_header(source)


_MOST_KEYS = 200


def _print_gguf_header(source: "Source") -> None:
    """Print a GGUF file's metadata and how its tensors are stored; nothing for other models."""
    from collections import Counter
    from pathlib import Path

    from layerwise.models.gguf.gguf_files import open_gguf
    from layerwise.models.sources.bundled import bundled_file
    from layerwise.text import one_line

    if source.random or source.kind not in ("bundled", "gguf"):  # the file's weights are not the model's
        return
    file = bundled_file(source.location) if source.kind == "bundled" else Path(source.location)
    if not file.is_file():
        return
    opened = open_gguf(file)
    metadata = opened.header.metadata
    print(f"\nmetadata of {one_line(opened.files[0].name)}")
    shown = [(one_line(key, 60), _metadata_text(value)) for key, value in list(metadata.items())[:_MOST_KEYS]]
    width = max(len(key) for key, _ in shown)
    for key, text in shown:
        print(f"{key:{width}} {text}")
    if len(metadata) > len(shown):
        print(f"… and {len(metadata) - len(shown):,} more")
    of_file = f" in {len(opened.files)} files" if len(opened.files) > 1 else ""
    print(f"\ntensors by type{of_file}")
    tensors, sizes = Counter[str](), Counter[str]()
    for tensor in opened.tensors.values():
        tensors[tensor.dtype] += 1
        sizes[tensor.dtype] += tensor.size_bytes
    for kind, size in sizes.most_common():
        print(f"{kind:15} {tensors[kind]:>5,} tensors {size / 1e6:>12,.1f} MB")


def _metadata_text(value: object) -> str:
    from layerwise.models.gguf.header import ArrayLength
    from layerwise.text import one_line

    if isinstance(value, ArrayLength):
        return "(1 entry)" if value == 1 else f"({value:,} entries)"
    return f"{value:g}" if isinstance(value, float) else one_line(str(value), 200)


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
    from layerwise.models.checkpoint.checkpoint import locate
    from layerwise.models.sources.bundled import BUNDLED, is_pulled
    from layerwise.models.sources.names import resolve

    for name in names or list(BUNDLED):
        source = resolve(name, revision)
        if source.kind == "bundled" and not is_pulled(source.location) and BUNDLED[source.location].licence_note:
            say_note(BUNDLED[source.location].licence_note)
        say_note(f"{name}: fetched and prepared once, which takes a minute or two")
        with progress_bar(quiet) as progress:
            checkpoint = locate(source, progress)
        print(f"{name}: ready in {checkpoint.folder}")
