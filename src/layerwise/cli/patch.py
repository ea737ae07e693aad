"""`layerwise patch`: one prompt's values put into another's run, place by place."""

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
    write_document,
)
from layerwise.cli.grids import Figures, Json, print_grid, print_outcome, tokens_text, write_found
from layerwise.cli.loading import loaded_for
from layerwise.cli.prompts import read_chat_args, read_text
from layerwise.errors import EditError, PromptError
from layerwise.models.sources.names import DEFAULT_MODEL
from layerwise.text import one_line, visible

if TYPE_CHECKING:
    from rich.console import Console

    from layerwise.causal.grid import PatchGrid, Patching, SubjectNoise


def patch(
    clean: Annotated[str, typer.Argument(help="The prompt that the answer belongs to. - reads stdin.")],
    corrupted: Annotated[
        str | None,
        typer.Argument(help="A prompt that differs in what the answer goes by; or --noise-on.", show_default=False),
    ] = None,
    model: Annotated[str, typer.Option(help="Bundled name, alias, hub id, folder or GGUF file.")] = DEFAULT_MODEL,
    answer: Annotated[str, typer.Option(help="The clean prompt's answer, usually with a leading space.")] = "",
    against: Annotated[
        str | None, typer.Option(help="The other answer: the effect is the difference of their logits.")
    ] = None,
    of: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND",
            help="What is patched: resid_pre (the stream at each layer, the default), attn_out, mlp_out, z (heads), or "
            "another kind of site; repeat for several.",
        ),
    ] = None,
    direction: Annotated[
        str,
        typer.Option(
            help="denoise: clean values into the corrupted run (sufficient); noise: the other way (necessary)."
        ),
    ] = "denoise",
    window: Annotated[int, typer.Option(help="Consecutive blocks that are patched together.")] = 1,
    span: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CLEAN|CORRUPTED", help="What corresponds, where prompts cannot be aligned; repeat for more."
        ),
    ] = None,
    noise_on: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Corrupt by noise on this part of the prompt instead.")
    ] = None,
    noise: Annotated[float, typer.Option(help="Its size, in standard deviations of embeddings.")] = 3.0,
    draws: Annotated[int, typer.Option(help="How often noise is drawn.")] = 5,
    placebo: Annotated[
        bool, typer.Option("--placebo", help="Run each cell once more, moved as far in a random direction.")
    ] = False,
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate", help="To first order, from one pass forwards and one back (attribution patching)."
        ),
    ] = False,
    exact_cells: Annotated[
        int, typer.Option(help="With --approximate: cells of each kind that are run all the same, to say how far off.")
    ] = 32,
    seed: Annotated[int, typer.Option(help="Of noise, placebos, and which cells are run exactly.")] = 0,
    chat: Annotated[bool, typer.Option("--chat", help="Put both prompts into the model's chat template.")] = False,
    chat_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Argument of the chat template; repeat for more."),
    ] = None,
    json: Json = None,
    html: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the view as one HTML file.")] = None,
    figures: Figures = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Put one run's values into another, place by place, and show how much of the answer comes back.

    Example: layerwise patch "Germany's capital is" "France's capital is" --answer " Berlin" --against " Paris"

    Example: layerwise patch "Germany's capital is" "France's capital is" --answer " Berlin" --of z --approximate

    Example: layerwise patch "The capital of Germany is" --noise-on Germany --answer " Berlin" --of mlp_out --window 5
    """
    if json == html == "-":
        raise PromptError("--json - and --html - would both write to standard output. Give one of them a file.")
    corruption = _corruption(corrupted, noise_on, noise, draws, seed)
    if not answer:
        raise PromptError("Whose answer should come back? Give it with --answer, usually with a leading space.")
    spans, arguments = dict(_span(each) for each in span or ()), read_chat_args(chat_arg or [])
    prompt = read_text("-") if clean == "-" else clean

    from layerwise.causal.patching import patch as patched

    with progress_bar(quiet) as progress:
        loaded = loaded_for(model, progress, trust_remote_code, revision, device, dtype, memory)
        progress("running both prompts", 0, None)
        found = patched(
            loaded,
            prompt,
            corruption,
            answer,
            against,
            kinds=of or ["resid_pre"],
            direction=direction,
            window=window,
            spans=spans or None,
            chat=chat,
            chat_args=arguments,
            placebo=placebo,
            seed=seed,
            approximate=approximate,
            exact_cells=exact_cells,
            progress=progress,
        )
    for note in found.notes:
        say_note(f"Warning: {note}")
    if html is not None:
        from layerwise.view.page import page_html
        from layerwise.view.shown import show

        write_document(page_html(show(found).document), html)
        if html != "-":
            say_note(f"View written to {html}; open it in a browser.")
    if write_found(found, json, figures) and html != "-":
        _print(found)


def _corruption(
    corrupted: str | None, noise_on: str | None, size: float, draws: int, seed: int
) -> "str | SubjectNoise":
    from layerwise.causal.grid import SubjectNoise

    if (corrupted is None) == (noise_on is None):
        raise EditError(
            "Give one of two: a corrupted prompt after the clean one, or --noise-on with the part of the clean prompt "
            "that noise is put on."
        )
    return corrupted if corrupted is not None else SubjectNoise(noise_on or "", size, draws, seed)


def _span(given: str) -> tuple[str, tuple[str, str]]:
    name, equals, texts = given.partition("=")
    clean, bar, corrupted = texts.partition("|")
    if not equals or not bar or not name.strip():
        raise PromptError(
            f"--span {one_line(repr(given), 80)} names nothing in both prompts. Write NAME=CLEAN|CORRUPTED, as in "
            "--span subject='Germany|Great Britain'."
        )
    return name.strip(), (clean, corrupted)


def _print(found: "Patching") -> None:
    """Print both runs, and a table for each grid."""
    from rich.text import Text

    console = results_console()
    console.print(Text(f"{one_line(found.model.name)} · {found.model.n_layers} layers · {found.direction}", "bold"))
    console.print(Text("clean:     ", "dim") + tokens_text(found.clean))
    if found.noise:
        about = f"noise of {found.noise.deviations:g} deviations on {found.noise.subject!r}, {found.noise.draws} draws"
        console.print(Text("corrupted: ", "dim") + Text(one_line(about)))
    else:
        console.print(Text("corrupted: ", "dim") + tokens_text(found.corrupted))
    for name, outcome in (("unpatched", found.unpatched), ("source", found.source)):
        print_outcome(console, name, outcome, found.answer, differs=found.against is not None)
    for grid in found.grids:
        console.print()
        _print_grid(console, found, grid)


def _print_grid(console: "Console", found: "Patching", grid: "PatchGrid") -> None:
    import numpy as np
    from rich.text import Text

    reached = [c for c, place in enumerate(grid.columns) if grid.of_heads or place in found.differing]
    places = [grid.columns[c] for c in reached]
    titles = [f"h{place}" if grid.of_heads else visible(found.patched[place].text) for place in places]
    window = f", {found.window} blocks at a time" if found.window > 1 else ""
    way = ", approximately" if grid.approximation else ""
    heading = f"{grid.kind}{window}: % of {found.effect.replace('_', ' ')} recovered{way}"
    print_grid(console, heading, grid.blocks, titles, grid.recovery[:, reached])
    if grid.approximation is not None:
        console.print(Text("\n".join(grid.approximation.lines), "dim"))
    if grid.placebo is not None:
        most = np.nanmax(np.abs(grid.placebo[:, reached]), initial=0)
        console.print(Text(f"placebo, moved as far in a random direction: at most {100 * most:.0f} % anywhere", "dim"))
    if not grid.of_heads and len(reached) < len(grid.columns):
        say_note("Tokens before those that differ are left out: nothing is different there at any layer.")
