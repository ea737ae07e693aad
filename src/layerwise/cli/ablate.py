"""`layerwise ablate`: what becomes of an answer without each component, or each edge of attention."""

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
from layerwise.cli.grids import CELL, Figures, Json, percent, print_grid, print_outcome, tokens_text, write_found
from layerwise.cli.loading import loaded_for
from layerwise.cli.prompts import read_chat_args, read_text
from layerwise.errors import PromptError
from layerwise.models.sources.names import DEFAULT_MODEL
from layerwise.text import counted, one_line

if TYPE_CHECKING:
    from rich.console import Console

    from layerwise.causal.ablated import Ablation, AblationGrid

_WITH_SPREAD = len("-100 ±100")

_RECIPE = 160
"""Characters of an edit that are shown: one over many prompts is long."""


def ablate(
    prompt: Annotated[str, typer.Argument(help="What is asked. - reads stdin.")],
    model: Annotated[str, typer.Option(help="Bundled name, alias, hub id, folder or GGUF file.")] = DEFAULT_MODEL,
    answer: Annotated[str, typer.Option(help="Its answer, usually with a leading space.")] = "",
    against: Annotated[
        str | None, typer.Option(help="Another answer: the effect is the difference of their logits.")
    ] = None,
    of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="What is taken out: attn_out and mlp_out (the default), z (heads), resid_pre (the whole stream), or "
            "another kind of site; repeat for several.",
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="What takes its place: zero, mean or resample.")] = "zero",
    over: Annotated[
        list[str] | None,
        typer.Option(metavar="PROMPT", help="A prompt that mean or resample takes values from; repeat for more."),
    ] = None,
    over_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The same, one prompt on each line.", show_default=False)
    ] = None,
    cut: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FROM:TO",
            help="Cut attention: positions of the span TO do not see those of FROM. Beside spans that are named there "
            "are first, last and rest. Repeat for more.",
        ),
    ] = None,
    span: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="A part of the prompt; repeat for more.")
    ] = None,
    window: Annotated[
        int | None,
        typer.Option(
            help="Consecutive blocks that are changed together: 1 of components, a fifth of all for --cut by default.",
            show_default=False,
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="How often is drawn: of --by resample, and of placebos for --cut.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the draws.")] = 0,
    chat: Annotated[bool, typer.Option("--chat", help="Put prompts into the model's chat template.")] = False,
    chat_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Argument of the chat template; repeat for more."),
    ] = None,
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
    """Take one component after another out, or cut attention block by block, and show how much of the answer goes.

    Example: layerwise ablate "The capital of Germany is" --answer " Berlin" --of z --by mean --over "I like the sea"

    Example: layerwise ablate "The capital of Germany is" --answer " Berlin" --cut subject:last --span subject=Germany
    """
    if not answer:
        raise PromptError("What becomes of which answer? Give it with --answer, usually with a leading space.")
    spans, arguments = dict(_span(each) for each in span or ()), read_chat_args(chat_arg or [])
    others = (
        [*(over or ()), *(line for line in read_text(over_file).split("\n") if line.strip())] if over_file else over
    )
    asked = read_text("-") if prompt == "-" else prompt

    from layerwise.causal.ablation import ablate as ablated

    with progress_bar(quiet) as progress:
        loaded = loaded_for(model, progress, trust_remote_code, revision, device, dtype, memory)
        found = ablated(
            loaded,
            asked,
            answer,
            against,
            kinds=of or (),
            by=by,
            over=others or (),
            edges=cut or (),
            spans=spans,
            window=window,
            draws=draws,
            seed=seed,
            chat=chat,
            chat_args=arguments,
            progress=progress,
        )
    for note in found.notes:
        say_note(f"Note: {note}")
    if write_found(found, json, figures):
        _print(found)


def _span(given: str) -> tuple[str, str]:
    name, equals, text = given.partition("=")
    if not equals or not name.strip() or not text.strip():
        raise PromptError(
            f"--span {one_line(repr(given), 80)} names nothing in the prompt. Write NAME=TEXT, as in "
            "--span subject=Germany."
        )
    return name.strip(), text


def _print(found: "Ablation") -> None:
    """Print the run without edits, and a table for each grid."""
    from rich.text import Text

    console = results_console()
    console.print(Text(f"{one_line(found.model.name)} · {found.model.n_layers} layers", "bold"))
    console.print(Text("prompt:  ", "dim") + tokens_text(found.prompt))
    print_outcome(console, "unedited", found.unedited, found.answer, differs=found.against is not None)
    for grid in found.grids:
        console.print()
        _print_grid(console, found, grid)


def _print_grid(console: "Console", found: "Ablation", grid: "AblationGrid") -> None:
    import numpy as np
    from rich.text import Text

    titles, values, spread, width = found.titles(grid), grid.change, grid.spread, CELL
    if grid.placebo is not None and grid.placebo_spread is not None:  # right of each edge
        values = np.stack([grid.change, grid.placebo], axis=-1).reshape(len(grid.blocks), -1)
        nothing = np.full_like(grid.change, np.nan)
        spread = np.stack([nothing, grid.placebo_spread], axis=-1).reshape(values.shape)
        titles = [name for title in titles for name in (title, "placebo")]
    if spread is not None:
        width = 2 + max(_WITH_SPREAD, *map(len, titles))
    in_logits = found.against is not None
    largest = float(np.nanmax(np.abs(grid.change), initial=0))
    without = "edges cut" if grid.column == "edge" else f"{grid.kind} by {found.by}"
    window = f", {grid.window} blocks at a time" if grid.window > 1 else ""
    print_grid(
        console,
        f"{without}{window}: {'change' if in_logits else '% change'} of {found.changed}",
        grid.blocks,
        titles,
        values,
        spread=spread,
        written="{:.1f}".format if in_logits else percent,
        limit=(largest or 1.0) if in_logits else 1.0,
        width=width,
    )
    first, *more = grid.edits[max(grid.edits, key=lambda at: abs(grid.change[at]))]
    others = f" and the same in {counted(len(more), 'more block')}" if more else ""
    console.print(Text(f'most changed by --edit "{one_line(str(first), _RECIPE)}"{others}', "dim"))
