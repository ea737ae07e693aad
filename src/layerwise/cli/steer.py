"""`layerwise steer`: what a model says while a direction is added to its states."""

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
from layerwise.cli.loading import loaded_for
from layerwise.cli.prompts import read_text
from layerwise.cli.vectors import with_vectors
from layerwise.errors import EditError
from layerwise.interventions.along import Add
from layerwise.interventions.written import parse
from layerwise.models.sources.names import DEFAULT_MODEL
from layerwise.text import one_line, visible

if TYPE_CHECKING:
    from layerwise.causal.steered import Steering

_SHOWN = 60
"""Characters of what the model goes on with."""


def steer(
    prompt: Annotated[str, typer.Argument(help="What the model goes on with. - reads stdin.")],
    along: Annotated[
        list[str],
        typer.Option(
            metavar="EDIT",
            help="What is added where: SITE[@POSITIONS] and a direction, as after add in --edit; repeat for several.",
        ),
    ],
    model: Annotated[str, typer.Option(help="Bundled name, alias, hub id, folder or GGUF file.")] = DEFAULT_MODEL,
    answer: Annotated[
        str | None, typer.Option(help="What is followed; by default what the model says by itself.")
    ] = None,
    against: Annotated[str | None, typer.Option(help="Another answer, for a difference of logits.")] = None,
    strengths: Annotated[
        str, typer.Option(metavar="A,B,…", help="How often the direction is added.")
    ] = "-1,-0.5,0,0.5,1",
    generate: Annotated[int, typer.Option(min=1, help="Tokens that the model goes on with.")] = 16,
    placebos: Annotated[int, typer.Option(min=0, help="Random directions, as long, beside each.")] = 1,
    unrelated: Annotated[
        str | None, typer.Option(metavar="SET", help="Questions that should not be touched: how many still are known.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of these at most.")] = 30,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")] = False,
    json: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write everything as JSON.")] = None,
    seed: Annotated[int, typer.Option(help="Of placebos and intervals.")] = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Add a direction to a model's states at a range of strengths, and show what it says and what else changes.

    Example: layerwise steer "The capital of Germany is" --along "layer 24@-1 token=' Paris'" --answer " Paris"

    Example: layerwise steer "I think that" --along "layer 10 toward='I love it' away='I hate it'" --unrelated capitals
    """
    from layerwise.causal.steering import steer as steered
    from layerwise.questions.sets import open_set

    directions, wanted = [_direction(each) for each in along], _numbers(strengths)
    asked = open_set(unrelated).questions if unrelated else ()
    text = read_text("-") if prompt == "-" else prompt
    with progress_bar(quiet) as progress:
        loaded = loaded_for(model, progress, trust_remote_code, revision, device, dtype, memory)
        found = steered(
            loaded,
            text,
            directions,
            answer,
            against,
            strengths=wanted,
            generate=generate,
            placebos=placebos,
            unrelated=asked,
            limit=limit,
            chat=chat,
            seed=seed,
            progress=progress,
        )
    if json == "-":
        write_document(found.dumps() + "\n", json)
        return
    if json is not None:
        found.save(json)
        say_note(f"Everything written to {json}")
    _print(found)


def _direction(text: str) -> Add:
    written = text if text.split()[:1] == ["add"] else f"add {text}"
    spec = parse(with_vectors(written))
    if not isinstance(spec, Add):
        raise EditError(
            f"--along {one_line(repr(text), 80)} adds nothing; expected as in \"layer 12@-1 token=' Paris'\"."
        )
    return spec


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in text.split(",")]
    except ValueError as error:
        raise EditError(f"--strengths should be numbers with commas between them; got {text!r}.") from error


def _print(found: "Steering") -> None:
    """Print a row for each strength, placebos below."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = results_console()
    console.print(Text(f"{one_line(found.model.name)} · {one_line(found.prompt, limit=80)}", "bold"))
    clean = (
        f"unsteered: log-probability of {visible(found.answer.text)} {found.unsteered.answer_logprob:.2f}, goes on: "
    )
    console.print(Text(clean, "dim") + Text(one_line(visible(found.goes_on), limit=_SHOWN)))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for name in ("site", "strength", "log-prob", "rank", *(["difference"] if found.against else []), "KL, bits"):
        table.add_column(name, justify="left" if name == "site" else "right")
    if found.side_effects:
        table.add_column("still known, %", justify="right")
    table.add_column("goes on")
    for at, row in enumerate(found.rows):
        of_difference = [] if row.logit_difference is None else [f"{row.logit_difference:+.2f}"]
        shown = [f"{row.answer_logprob:.2f}", f"{row.answer_rank:,}", *of_difference, f"{row.kl_bits:.2f}"]
        if found.side_effects:
            known = found.side_effects[at].still_known
            shown.append("–" if known is None else f"{100 * known.value:.0f}")
        site = "  placebo" if row.placebo is not None else one_line(row.site)
        goes_on = Text(one_line(visible(row.generated), limit=_SHOWN))
        table.add_row(site, f"{row.strength:g}", *shown, goes_on, style="dim" if row.placebo is not None else "")
    console.print(table)
    if found.side_effects:
        say_note(f"still known: of {found.known} unrelated questions that the model answers unsteered.")
