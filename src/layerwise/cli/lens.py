"""`layerwise lens`: lenses fitted on text."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerwise.cli.console import (
    Debug,
    Device,
    Dtype,
    Memory,
    Quiet,
    Revision,
    TrustRemoteCode,
    progress_bar,
    say_note,
)
from layerwise.cli.loading import loaded_for
from layerwise.errors import LensError, TextError
from layerwise.lens_spec import JACOBIAN, R
from layerwise.models.sources.names import DEFAULT_MODEL
from layerwise.text import one_line

if TYPE_CHECKING:
    pass

app = typer.Typer(help="Lenses that read earlier than the logit lens: fit them on text.", no_args_is_help=True)

_Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the lens.")]
_Model = Annotated[str, typer.Option(help="Bundled name, alias, hub id, folder or GGUF file.")]


@app.command("fit")
def fit(
    method: Annotated[
        str,
        typer.Option(
            help="ridge (least squares to the last layer: one pass over the text), tuned (closest to the output), or "
            "jacobian (what states dispose the model to say; minutes to hours)."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for the lens; else it is the model's own, had by --lens METHOD."),
    ] = None,
    model: _Model = DEFAULT_MODEL,
    rules: Annotated[
        str | None, typer.Option(help="r: with the R lens's backward rules, for --method jacobian.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="A text file (one document), .jsonl or .parquet (many), or hub:OWNER/NAME (a data set on the hub); "
            "repeat for more.",
        ),
    ] = None,
    self_text: Annotated[bool, typer.Option("--self-text", help="Let the model write the text.")] = False,
    text_field: Annotated[str, typer.Option(help="Field of JSON Lines, or column of Parquet, with the text.")] = "text",
    texts: Annotated[int | None, typer.Option(min=2, help="Windows of text to fit on at most.")] = None,
    length: Annotated[int | None, typer.Option(help="Tokens of a window; 128 by default.")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers to fit, as in 0,4:8,-1; all by default.")] = None,
    until: Annotated[
        float | None,
        typer.Option(
            help="Stop once lenses of two halves of the text say the same likeliest token at this share of held-out "
            "positions (median over layers): 0.9, for instance."
        ),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Sum over one of N parts of the text only; see lens merge.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="A setting of the method: penalty=0.01; repeat.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.")] = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Fit a lens for a model on text, and say how it does on text that was held out.

    A fit that was interrupted goes on when the same command is given again.

    Example: layerwise lens fit --model smollm2-135m --method ridge --text book.txt --out lenses/smollm2-ridge

    Example: layerwise lens fit --model smollm2-135m --method ridge --self-text --texts 40 --out lenses/small

    Example: layerwise lens fit --model smollm2-135m --method jacobian --rules r --text book.txt --out lenses/smollm2-r
    """
    if not text and not self_text:
        raise TextError("There is no text to fit on: give --text FILE, or let the model write it with --self-text.")
    if text and self_text:
        raise TextError("--text and --self-text exclude each other: a card names one source.")
    method = _with_rules(method, rules)
    part, options = _shard(shard), _options(option or [])
    out, own = _place(out, model, method, part)
    with _interruption_told(out), progress_bar(quiet) as progress:
        from layerwise.fitting.listener import Listener
        from layerwise.fitting.plan import FitRequest
        from layerwise.fitting.text.reading import read_documents
        from layerwise.tracing.lens_fitting import carry_out, carry_out_shard

        documents = read_documents(text, text_field) if text else None
        loaded = loaded_for(model, progress, trust_remote_code, revision, device, dtype, memory)
        request = FitRequest(method, documents, texts, length, layers, until, seed, options)
        listener = Listener(progress, lambda cost: say_note(str(cost)), say_note)
        lens = None
        if part:
            carry_out_shard(loaded, request, part, out, listener)
        else:
            lens = carry_out(loaded, request, out, listener)
    if lens:
        from layerwise.cli.lens_tables import print_card

        print_card(lens, out, own)
    else:
        print(f"Shard {shard} written to {out}. Once all are there: layerwise lens merge SHARD… --out DIR")


@app.command("merge")
def merge(
    shards: Annotated[list[Path], typer.Argument(help="Folders that `lens fit --shard` wrote, of all parts.")],
    out: _Out,
    model: _Model = DEFAULT_MODEL,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Add up the shards of a fit, and write the lens.

    Example: layerwise lens merge shard-1 shard-2 --model smollm2-135m --out lenses/smollm2-ridge
    """
    with progress_bar(quiet) as progress:
        from layerwise.tracing.lens_fitting import merge as merge_shards

        loaded = loaded_for(model, progress, trust_remote_code, revision, device, dtype, memory)
        lens = merge_shards(loaded, shards, out, progress=progress)
    from layerwise.cli.lens_tables import print_card

    print_card(lens, out)


def _place(out: Path | None, model: str, method: str, part: tuple[int, int] | None) -> tuple[Path, bool]:
    """Return where a lens is written to, and whether it is the model's own then."""
    if out is not None:
        return out, False
    if part:
        raise LensError("A shard is no lens yet: give --out DIR for it, another one for each.")
    from layerwise.lenses.own import place_for_own

    return place_for_own(model, method), True


def _with_rules(method: str, rules: str | None) -> str:
    """Return the method that is meant: the R lens is a Jacobian lens with rules of its own."""
    if rules is None:
        return method
    if (method, rules) != (JACOBIAN.name, R.name):
        raise LensError(
            f"--rules {one_line(repr(rules), 60)} with --method {one_line(method, 60)} means nothing; the one that "
            "there is, is --method jacobian --rules r."
        )
    return R.name


def _shard(text: str | None) -> tuple[int, int] | None:
    """Return which shard a text names, and of how many."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise LensError(f"--shard {text!r} names no shard; expected a number and how many there are, as in 1/4.")
    return int(found[1]), int(found[2])


def _options(given: list[str]) -> dict[str, Any]:
    """Return a method's settings by name: numbers where they are written as such."""
    import json

    found: dict[str, Any] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise LensError(f"--option {each!r} sets nothing; expected NAME=VALUE, as in penalty=0.01.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


@contextlib.contextmanager
def _interruption_told(out: Path) -> Iterator[None]:
    """Say how to go on where the work is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        from layerwise.fitting.plan import partial_folder

        partial = partial_folder(out)
        if partial.exists():
            say_note(f"Interrupted. What was finished is in {partial}; the same command goes on with it.")
        else:
            say_note("Interrupted before anything was stored: that is done once a minute.")
        raise
