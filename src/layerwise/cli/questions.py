"""`layerwise questions`: the sets that come with it, and files of one's own."""

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
from layerwise.cli.loading import loaded_for
from layerwise.text import counted, harmless, one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from layerwise.questions.question import Question
    from layerwise.questions.sets import QuestionSet

_MOST_REFUSALS = 20

app = typer.Typer(help="Question sets: list and show those that come with layerwise, validate your own.")


@app.callback(invoke_without_command=True)
def _default(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_sets()


@app.command("list")
def list_sets(debug: Debug = False) -> None:
    """List the question sets that come with layerwise.

    Example: layerwise questions list
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from layerwise.questions.sets import open_set, shipped_sets

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("set", "title", "items", "directions", "wordings", "questions", "version"):
        table.add_column(title, justify="left" if title in ("set", "title") else "right")
    for name in shipped_sets():
        opened = open_set(name)
        counts = (len(opened.items), len(opened.directions), _wordings(opened), len(opened.questions), opened.version)
        table.add_row(Text(opened.name), Text(opened.title), *(f"{count:,}" for count in counts))
    results_console().print(table)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A set that comes with layerwise, or a .toml, .csv or .jsonl file.")],
    items: Annotated[int, typer.Option(min=0, help="How many items to show as examples.")] = 3,
    json: Annotated[str | None, typer.Option(metavar="FILE|-", help="Write all questions as JSON.")] = None,
    debug: Debug = False,
) -> None:
    """Show what a set asks, where its facts are from, and some of its questions.

    Example: layerwise questions show capitals --items 5
    """
    from layerwise.questions.sets import open_set

    opened = open_set(name)
    if json:
        write_document(_as_json(opened) + "\n", json)
        return
    _print_facts(opened)
    _print_wordings(opened)
    if items:
        _print_examples(opened, items)


@app.command("validate")
def validate(
    file: Annotated[str, typer.Argument(help="A .toml, .csv or .jsonl file, a study's too, or a set's name.")],
    model: Annotated[
        str | None, typer.Option(help="Try every question with this model's tokenizer: name, hub id, folder or file.")
    ] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Check a file of questions, or a study's: every row, and with a model also every answer's tokens.

    What may be meant otherwise is hinted at on standard error.

    Example: layerwise questions validate mine.csv --model gemma-3-270m
    """
    from layerwise.errors import QuestionError
    from layerwise.questions.question import hints
    from layerwise.questions.sets import open_set
    from layerwise.studies.study import is_study, read_study

    path = Path(file)
    questions = read_study(path).questions if is_study(path) else open_set(file).questions
    print(f"{harmless(file)}: {_summary(questions)}")
    if alone := sum(not question.alternatives for question in questions):
        print(
            f"{counted(alone, 'question')} without alternatives: there the first token of an answer decides, and no "
            "wrong answer is read as a control. A group, or a column of alternatives, gives them."
        )
    for hint in hints(questions):
        say_note(f"Hint: {hint}")
    if model is None:
        return
    from layerwise.tracing.request import Request

    with progress_bar(quiet) as progress:
        loaded = loaded_for(model, progress, trust_remote_code, revision, device, dtype, memory)
        refused: list[tuple[str, str]] = []
        for done, question in enumerate(questions):
            progress("trying every question", done, len(questions))
            if reason := loaded.refusal(Request.about(question)):
                refused.append((question.id, reason))
    for question_id, reason in refused[:_MOST_REFUSALS]:
        print(f"  {one_line(question_id, 120)}: {one_line(reason, 400)}")
    if len(refused) > _MOST_REFUSALS:
        print(f"  … and {len(refused) - _MOST_REFUSALS:,} more")
    if refused:
        raise QuestionError(
            f"{model} would be asked {len(questions) - len(refused):,} of {len(questions):,} questions. "
            "A run notes the others as refused, with the reason, and they are in none of its numbers."
        )
    print(f"{harmless(model)} can be asked all of them")


def _summary(questions: "Sequence[Question]") -> str:
    """Return how much there is; of directions and wordings what has a name, and how many questions have none."""
    items = len({(question.set, question.item) for question in questions})
    counts = [counted(items, "item"), counted(len(questions), "question")]
    for what, names in (
        ("direction", [question.direction for question in questions]),
        ("wording", [(question.direction, question.wording) if question.wording else "" for question in questions]),
    ):
        named, without = len({*names} - {""}), names.count("")
        if named:
            counts.append(counted(named, what) + (f" ({counted(without, 'question')} without one)" if without else ""))
    return ", ".join(counts)


def _print_facts(opened: "QuestionSet") -> None:
    from rich.text import Text

    console = results_console()
    console.print(Text(one_line(f"{opened.name}, version {opened.version}: {opened.title}"), "bold"))
    console.print(
        f"{counted(len(opened.items), 'item')}, {counted(len(opened.questions), 'question')}, sum {opened.sum[:12]}"
    )
    for text in (opened.description, f"Source: {opened.source}"):
        if text:
            console.print()
            console.print(Text(harmless(text.strip())))


def _print_wordings(opened: "QuestionSet") -> None:
    """Print a wording as its first question has it."""
    from rich.text import Text

    console = results_console()
    first = {}
    for question in opened.questions:
        first.setdefault((question.direction, question.wording), question)
    for direction in opened.directions:
        console.print()
        console.print(Text(one_line(direction or "questions", 80), "bold"))
        for (of, wording), question in list(first.items()):
            if of == direction:
                console.print(Text(f"  {one_line(wording, 40):14} {one_line(question.prompt, 160)}"))


def _print_examples(opened: "QuestionSet", items: int) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("item", "group", "prompt", "answers", "alternatives"):
        table.add_column(title)
    for direction in opened.directions:
        shown = set()
        for question in opened.some(items=items, directions=[direction]):
            if question.item in shown:  # one wording of it is enough
                continue
            shown.add(question.item)
            cells = (
                question.item,
                question.group,
                question.prompt,
                _forms(question.answers),
                _forms(question.alternatives),
            )
            table.add_row(*(Text(one_line(cell, 120)) for cell in cells))
    results_console().print(table)


def _as_json(opened: "QuestionSet") -> str:
    from dataclasses import asdict
    from json import dumps

    return dumps(asdict(opened) | {"sum": opened.sum}, indent=1)


def _wordings(opened: "QuestionSet") -> int:
    """Return how many wordings there are, over all directions."""
    return len({(question.direction, question.wording) for question in opened.questions})


def _forms(texts: tuple[str, ...]) -> str:
    return " |".join(texts).strip()
