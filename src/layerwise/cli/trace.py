"""`layerwise trace`: one prompt, every layer."""

import math
from pathlib import Path
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
from layerwise.cli.lens_tables import print_leading
from layerwise.cli.loading import loaded_for
from layerwise.cli.prompts import given_prompt, read_chat_args, read_ids
from layerwise.cli.vectors import with_vectors
from layerwise.errors import PromptError
from layerwise.interventions.written import OPERATIONS, shown
from layerwise.lens_spec import LOGIT, METHODS, SPECS, caveat_of
from layerwise.models.sources.names import DEFAULT_MODEL
from layerwise.text import one_line, visible

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from layerwise.tracing.trace import Trace
    from layerwise.types import TokenProb

_BAR_WIDTH = 8
_TOKENS = 50
"""How many tokens of a layer are shown at most: more fit on no screen."""


def trace(
    prompt: Annotated[
        str | None, typer.Argument(help="The text whose next token is predicted. - reads stdin.", show_default=False)
    ] = None,
    prompt_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Read the prompt from a file; the line end at its end is not part of it."),
    ] = None,
    ids: Annotated[
        str | None, typer.Option(metavar="I,J,…", help="The prompt as token ids, exactly: no BOS is added.")
    ] = None,
    conversation: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|-",
            help="The prompt as messages in JSON, put into the chat template. A last one of the assistant goes on.",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="Bundled name, alias, hub id, folder or GGUF file.")] = DEFAULT_MODEL,
    answer: Annotated[
        list[str] | None,
        typer.Option(help="An answer to follow, usually with a leading space; repeat for aliases."),
    ] = None,
    answer_ids: Annotated[
        list[str] | None,
        typer.Option(metavar="I,J,…", help="An answer as token ids, right after the prompt's; repeat for aliases."),
    ] = None,
    alternative: Annotated[
        list[str] | None, typer.Option(help="A wrong answer of the same type; settles which token decides.")
    ] = None,
    alternative_ids: Annotated[
        list[str] | None, typer.Option(metavar="I,J,…", help="A wrong answer of the same type as token ids.")
    ] = None,
    track: Annotated[list[str] | None, typer.Option(help="A token to follow at every layer.")] = None,
    lens: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{' or '.join(f'{spec.name} ({spec.reads})' for spec in SPECS.values())}; the first is the default. "
            f"Or fitted: {', '.join(METHODS)} (the model's own), METHOD:PATH (a folder or file). Repeat for several."
        ),
    ] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="'OPERATION SITE[@POSITIONS] NAME=VALUE…'",
            help="Change something on the way up: 'zero blocks.3.hook_mlp_out@-1', 'patch layer 12@last source=TEXT'; "
            f"operations: {', '.join(OPERATIONS)}. Repeat for several.",
        ),
    ] = None,
    positions: Annotated[str, typer.Option(help="last, all, or indices and slices: 0,3:5,-1.")] = "last",
    top_k: Annotated[int, typer.Option(min=1, help="How many of the likeliest tokens to show.")] = 5,
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the model's chat template.")] = False,
    system: Annotated[str | None, typer.Option(help="System message of the conversation.")] = None,
    chat_arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Argument of the chat template: enable_thinking=false; repeat for more."
        ),
    ] = None,
    generate: Annotated[int, typer.Option(min=0, help="Let the model go on, and trace each token.")] = 0,
    json: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the trace as JSON.")] = None,
    html: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write the view as one HTML file.")] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show what a model would say after every layer.

    Example: layerwise trace "Question: What is the capital of Germany? Answer:" --answer " Berlin"

    Example: layerwise trace "The capital of Germany is" --edit "zero blocks.10.hook_mlp_out@-1"

    Example: layerwise trace --prompt-file prompt.txt

    Example: layerwise trace --model smollm2-135m --conversation messages.json --answer " Berlin"

    Example: layerwise trace --model smollm2-135m --ids 504,3575,282,4521,314 --answer-ids 11452
    """
    from layerwise.lenses.finding import expect_lens
    from layerwise.tracing.request import Request

    lenses = _distinct(lens or [LOGIT.name])
    for each in lenses:
        expect_lens(each, model)
    if json is not None and len(lenses) > 1:
        raise PromptError(f"A JSON file holds one lens's trace, and {len(lenses)} were asked for. Write one at a time.")
    asked = given_prompt(prompt, prompt_file, ids, conversation)
    chat_args = read_chat_args(chat_arg or [])
    with progress_bar(quiet) as progress:
        loaded = loaded_for(model, progress, trust_remote_code, revision, device, dtype, memory)
        progress("reading every layer", 0, None)
        request = Request(
            asked,
            answers=(*(answer or ()), *(read_ids(each, "--answer-ids") for each in answer_ids or ())),
            alternatives=(
                *(alternative or ()),
                *(read_ids(each, "--alternative-ids") for each in alternative_ids or ()),
            ),
            track=tuple(track or ()),
            positions=positions,
            top_k=top_k,
            chat=chat,
            system=system,
            generate=generate,
            leaders=True,
            chat_args=chat_args,
            edits=tuple(map(with_vectors, edit or ())),
        )
        [traces] = loaded.trace_all([request], lenses=lenses, progress=progress)
    for note in dict.fromkeys(note for trace in traces for note in trace.notes):
        say_note(f"Warning: {note}")
    if html is not None:
        from layerwise.view.page import page_html
        from layerwise.view.shown import show

        write_document(page_html(show(*traces).document), html)
        if html != "-":
            say_note(f"View written to {html}; open it in a browser.")
    if json == "-":
        from layerwise.tracing.trace_file import dumps

        write_document(dumps(traces[0], ascii_only=True) + "\n", json)
    elif json is not None:
        traces[0].save(Path(json))
        say_note(f"Trace written to {json}")
    elif html is None:
        for each in traces:
            print_trace(each)
        print_leading(traces)


def _distinct(lenses: list[str]) -> list[str]:
    """Return each lens once, and say where one was asked for more often."""
    distinct = list(dict.fromkeys(lenses))
    if twice := [name for name in distinct if lenses.count(name) > 1]:
        say_note(f"--lens {one_line(twice[0])} was given more than once, and is shown once.")
    return distinct


def print_trace(trace: "Trace") -> None:
    """Print the tokens, a table per position, and the checks."""
    from rich.text import Text

    from layerwise.tracing.answer_sentences import answer_sentence, spelling_hint
    from layerwise.tracing.check_sentences import check_line

    console = results_console()
    read = trace.tokens + trace.generated
    console.print(Text(f"{one_line(trace.model.name)} · {trace.model.n_layers} layers · {trace.lens} lens", "bold"))
    console.print(Text("tokens: ", "dim") + Text(" ").join(Text(visible(token.text)) for token in trace.tokens))
    for edit in trace.edits:
        console.print(Text("edited: ", "dim") + Text(one_line(shown(edit)), "bold yellow"))
    for place, position in enumerate(trace.positions):
        if len(trace.positions) > 1:
            console.print()
            console.print(Text(f"after token {position} ", "dim") + Text(visible(read[position].text), "bold"))
        console.print(_table(trace, place))
    if trace.generated:
        console.print(Text("goes on: ", "dim") + Text(" ").join(Text(visible(t.text)) for t in trace.generated))
    for line in (answer_sentence(trace), spelling_hint(trace), check_line(trace), caveat_of(trace.lens)):
        if line:
            console.print(Text(line, "dim"))
    if (kept := trace.top_ids.shape[-1]) > _TOKENS:
        say_note(f"… and {kept - _TOKENS:,} more tokens at every layer. --json FILE writes everything.")


def _table(trace: "Trace", place: int) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from layerwise.tracing.answer_sentences import answer_label

    position = trace.positions[place]
    answer = trace.answer if place == trace.last else None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    numbers = ["layer", "depth"]
    if answer:
        numbers += [f"p({answer_label(answer.answers)})", "rank"]
    numbers += [*(f"p({visible(tracked.token.text)})" for tracked in trace.tracked), "entropy"]
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("likeliest tokens")  # the one column that gives way where the terminal is narrow
    for layer in range(trace.n_layers + 1):
        cells: list[str | Text] = [str(layer), f"{trace.depth[layer]:.2f}"]
        if answer:
            cells += [_bar(float(answer.prob[layer])), f"{answer.rank[layer]:,}"]
        cells += [f"{math.exp(t.logprob[layer, place]):.3f}" for t in trace.tracked]
        cells.append(f"{trace.entropy_bits[layer, place]:.2f}")
        winners = answer.ids_after_prompt if answer else set()
        tokens = Text("  ", no_wrap=True, overflow="ellipsis")
        cells.append(tokens.join(_token(token, token.id in winners) for token in trace.top(layer, position)[:_TOKENS]))
        table.add_row(*cells)
    return table


def _bar(prob: float) -> "Text":
    from rich.text import Text

    filled = round(prob * _BAR_WIDTH)
    return Text(f"{prob:.3f} ") + Text("█" * filled, "blue") + Text("·" * (_BAR_WIDTH - filled), "dim")


def _token(token: "TokenProb", is_answer: bool) -> "Text":
    from rich.text import Text

    style = "bold blue" if is_answer else "bold" if token.prob >= 0.5 else "" if token.prob >= 0.05 else "dim"
    return Text(visible(token.text), style) + Text(f" {token.prob:.3f}", "dim")
