"""`layerwise patchscope`: what a model says of one prompt's states, put into another prompt."""

from typing import TYPE_CHECKING, Annotated

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
    results_console,
    say_note,
)
from layerwise.cli.grids import Figures, Json, tokens_text, write_found
from layerwise.cli.loading import loaded_for
from layerwise.cli.prompts import read_text
from layerwise.models.sources.names import DEFAULT_MODEL
from layerwise.text import one_line, probability, visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from layerwise.causal.scoped import Patchscope, Said, ScopedState

# layerwise.causal.patchscope has them too, and PyTorch with them.
_PLACEHOLDER = "?"
_IDENTITY = f"cat -> cat; 1135 -> 1135; hello -> hello; {_PLACEHOLDER} ->"

_SHOWN = 3
"""Likeliest tokens of a state."""

_CELL, _BESIDE = 10, 8
"""Columns of the terminal that a cell of a grid takes, and those that a row's name does."""


def patchscope(
    prompt: Annotated[str, typer.Argument(help="Whose states are taken. - reads stdin.")],
    model: Annotated[str, typer.Option(help="Bundled name, alias, hub id, folder or GGUF file.")] = DEFAULT_MODEL,
    position: Annotated[
        str, typer.Option(help="Of the prompt: last, an index, or a part of its text, whose last token it is.")
    ] = "last",
    target: Annotated[str, typer.Option(help="The prompt that they are put into.")] = _IDENTITY,
    at: Annotated[str, typer.Option(help="The position there that is replaced, in the same ways.")] = _PLACEHOLDER,
    layers: Annotated[str, typer.Option(help="Whose states are taken: all, or as in 0,3:5,-1.")] = "all",
    to_layers: Annotated[
        str, typer.Option(help="Where they are put: same, all, or as in 0,3:5,-1; each layer's at each of them.")
    ] = "same",
    answer: Annotated[
        str | None, typer.Option(help="What the target is hoped to say, usually with a leading space.")
    ] = None,
    generate: Annotated[int, typer.Option(help="Let the model go on for so many tokens.")] = 0,
    top_k: Annotated[int, typer.Option(help="Likeliest tokens that are kept.")] = 5,
    seed: Annotated[int, typer.Option(help="Of placebos.")] = 0,
    json: Json = None,
    figures: Figures = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Put one prompt's state into another prompt that makes the model say what is in it, layer by layer.

    Example: layerwise patchscope "The capital of Germany is" --position Germany --answer " Germany"

    Example: layerwise patchscope "The capital of Germany is" --to-layers all --answer " Berlin" --figures scoped
    """
    from layerwise.causal.patchscope import patchscope as scoped

    with progress_bar(quiet) as progress:
        loaded = loaded_for(model, progress, trust_remote_code, revision, device, dtype, memory)
        found = scoped(
            loaded,
            read_text("-") if prompt == "-" else prompt,
            position,
            target=target,
            at=at,
            layers=layers,
            to_layers=to_layers,
            answer=answer or None,
            generate=generate,
            top_k=top_k,
            seed=seed,
            progress=progress,
        )
    if write_found(found, json, figures):
        _print(found)


def _print(found: "Patchscope") -> None:
    """Print both prompts, a table, and one state as an edit."""
    from rich.text import Text

    console = results_console()
    console.print(Text(f"{one_line(found.model.name)} · {found.model.n_layers} layers", "bold"))
    console.print(Text("prompt:    ", "dim") + tokens_text(found.prompt))
    console.print(Text("target:    ", "dim") + tokens_text(found.target))
    taken, replaced = visible(found.prompt[found.position].text), visible(found.target[found.at].text)
    where = f"{taken} (position {found.position}) is put at {replaced} (position {found.at})"
    console.print(Text("state:     ", "dim") + Text(where))
    console.print(Text("unpatched: ", "dim") + _told(found.unpatched))
    if found.elsewhere is not None:
        other = f"{visible(found.prompt[found.elsewhere].text)} (position {found.elsewhere})"
        console.print(Text("elsewhere: ", "dim") + Text(f"what is said of {other} instead, a placebo"))
    console.print(Text("random:    ", "dim") + Text("what is said of a random direction as long, a placebo"))
    console.print()
    _print_grid(console, found) if found.is_grid else _print_rows(console, found)
    best = max(found.states, key=lambda each: (each.said.answer_logprob or 0.0, each.said.top[0].prob))
    console.print(
        Text(
            f"layer {best.layer} at {best.to_layer}: layerwise trace TARGET --edit {one_line(repr(str(best.edit)))}",
            "dim",
        )
    )


def _print_rows(console: "Console", found: "Patchscope") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("layer", justify="right")
    table.add_column("says")
    if found.answer:
        table.add_column(Text(f"{visible(found.answer.text)}: rank"), justify="right")
    table.add_column("elsewhere")
    table.add_column("random")
    if found.states[0].generated is not None:
        table.add_column("goes on")
    for each in found.states:
        table.add_row(*_row(each, with_answer=found.answer is not None))
    console.print(table)


def _row(each: "ScopedState", *, with_answer: bool) -> "list[str | Text]":
    from rich.text import Text

    row = [str(each.layer), _told(each.said)]
    if with_answer:
        row.append(str(each.said.answer_rank))
    row += [_told(each.elsewhere, 1) if each.elsewhere else "–", _told(each.random, 1)]
    return row if each.generated is None else [*row, Text(one_line(each.generated, 60))]


def _told(said: "Said", count: int = _SHOWN) -> "Text":
    from rich.text import Text

    return Text(", ").join(Text(f"{visible(each.text, 20)} {probability(each.prob)}") for each in said.top[:count])


def _print_grid(console: "Console", found: "Patchscope") -> None:
    """Print the likeliest token of each state, by both layers; those that are the answer stand out."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    targets = list(dict.fromkeys(each.to_layer for each in found.states))
    room = max(1, (console.width - _BESIDE) // _CELL)
    step = -(-len(targets) // room)
    shown = targets[::step]
    console.print(Text("the likeliest token: whose layer (down), put at which layer (across)", "bold"))
    table = Table(box=box.SIMPLE_HEAD, padding=0, collapse_padding=True, pad_edge=False)
    table.add_column("layer", justify="right", width=_BESIDE - 2)
    for to in shown:
        table.add_column(str(to), width=_CELL - 1, no_wrap=True, overflow="crop")
    for layer in dict.fromkeys(each.layer for each in found.states):
        tops = [found.state(layer, to).said.top[0] for to in shown]
        is_answer = [found.answer is not None and top.id == found.answer.id for top in tops]
        cells = [
            Text(visible(top.text, _CELL - 2), "bold" if it else "dim") for top, it in zip(tops, is_answer, strict=True)
        ]
        table.add_row(str(layer), *cells)
    console.print(table)
    if left := len(targets) - len(shown):
        say_note(f"… and {left} more layers across. --json FILE writes everything, --figures DIR draws it.")
