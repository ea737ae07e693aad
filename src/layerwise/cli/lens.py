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
from layerwise.errors import LensError, TextError
from layerwise.lens_spec import JACOBIAN, R
from layerwise.models.sources.names import DEFAULT_MODEL
from layerwise.text import one_line

if TYPE_CHECKING:
    from layerwise.lenses.fitted import FittedLens

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
    out: _Out,
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
    with _interruption_told(out), progress_bar(quiet) as progress:
        from layerwise.fitting.listener import Listener
        from layerwise.fitting.plan import FitRequest
        from layerwise.fitting.text.reading import read_documents
        from layerwise.tracing.lens_fitting import carry_out, carry_out_shard
        from layerwise.tracing.loading import load

        documents = read_documents(text, text_field) if text else None
        progress(f"loading {model}", 0, None)
        how: dict[str, Any] = {"revision": revision, "device": device, "dtype": dtype, "memory": memory}
        loaded = load(model, trust_remote_code=trust_remote_code, progress=progress, **how)
        request = FitRequest(method, documents, texts, length, layers, until, seed, options)
        listener = Listener(progress, lambda cost: say_note(str(cost)), say_note)
        lens = None
        if part:
            carry_out_shard(loaded, request, part, out, listener)
        else:
            lens = carry_out(loaded, request, out, listener)
    if lens:
        print_card(lens, out)
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
        from layerwise.tracing.loading import load

        progress(f"loading {model}", 0, None)
        how: dict[str, Any] = {"revision": revision, "device": device, "dtype": dtype, "memory": memory}
        loaded = load(model, trust_remote_code=trust_remote_code, progress=progress, **how)
        lens = merge_shards(loaded, shards, out, progress=progress)
    print_card(lens, out)


@app.command("report")
def report(
    lenses: Annotated[
        list[str], typer.Argument(metavar="LENS…", help="As for trace: ridge, jacobian:./my-lens, …; several at once.")
    ],
    model: Annotated[
        list[str] | None, typer.Option(help="Bundled name, alias, hub id, folder or GGUF file; repeat for more.")
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Unspoken intermediates as they are published (lens-eval-multihop.json); layerwise's own by default.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Text to compare lenses with the output on; repeat. Else the model writes it."
        ),
    ] = None,
    text_field: Annotated[str, typer.Option(help="Field of JSON Lines, or column of Parquet, with the text.")] = "text",
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Read the intermediates under controls too.")
    ] = True,
    k: Annotated[int, typer.Option(min=1, help="A word is readable where its rank is at most this.")] = 10,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for report.md, report.html, figures and all ranks.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the report.")] = None,
    seed: Annotated[int, typer.Option(help="Of what controls draw.")] = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge lenses side by side: on what a model has in mind and does not say, on answers that it knows, and on text.

    The logit lens stands beside them. Controls say what a number is without the thing that it should show.

    Example: layerwise lens report ridge jacobian:lenses/smollm2-jacobian --model smollm2-135m --out report

    Example: layerwise lens report jacobian:gemma-2-9b --model google/gemma-2-9b --items lens-eval-multihop.json
    """
    with progress_bar(quiet) as progress:
        from layerwise.evaluation.evaluate import evaluate_lenses
        from layerwise.fitting.text.reading import read_documents
        from layerwise.tracing.loading import load

        texts = read_documents(text, text_field) if text else None
        how: dict[str, Any] = {"revision": revision, "device": device, "dtype": dtype, "memory": memory}
        evaluated = []
        for name in model or [DEFAULT_MODEL]:
            progress(f"loading {name}", 0, None)
            loaded = load(name, trust_remote_code=trust_remote_code, progress=progress, **how)
            evaluated.append(
                evaluate_lenses(
                    *(loaded, lenses),
                    items=items,
                    texts=texts,
                    controls=controls,
                    seed=seed,
                    progress=progress,
                )
            )
            del loaded
    from layerwise.cli.lens_tables import print_evaluation
    from layerwise.report.lens_report import TITLE, write_lens_report

    for each in evaluated:
        print_evaluation(each, k)
    if out:
        print(f"Report: {write_lens_report(evaluated, out, title=title or TITLE, k=k)}")


def print_card(lens: "FittedLens", out: Path) -> None:
    """Print how a lens does on held-out text, at a few layers, and how to read through it."""
    from rich import box
    from rich.table import Table

    from layerwise.cli.console import results_console

    card = lens.card
    assert card is not None
    figures, n = card.held_out, len(card.layers)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("layer", "KL to output (bits)", "logit lens", "top-1 as output", "logit lens", "halves agree"):
        table.add_column(title, justify="right")
    halves = figures.get("halves", {}).get("top1_agreement") or [None] * n
    for index in sorted({round(step * (n - 1) / 7) for step in range(8)}):
        table.add_row(
            str(card.layers[index]),
            f"{figures['kl_bits'][index]:.2f}",
            f"{figures['logit_kl_bits'][index]:.2f}",
            f"{figures['top1_agreement'][index]:.0%}",
            f"{figures['logit_top1_agreement'][index]:.0%}",
            "" if halves[index] is None else f"{halves[index]:.0%}",
        )
    console = results_console()
    console.print(f"{card.method} lens of {card.model}, fitted on {card.text['tokens']:,} tokens", style="bold")
    console.print(table)
    print(f"At {figures['positions']} held-out positions. The lens and its card are in {out}. Read through it:")
    print(f'layerwise trace "The capital of Germany is" --model {card.model} --lens logit --lens {card.method}:{out}')


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
