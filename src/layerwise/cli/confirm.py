"""`layerwise confirm`: whether what a lens reads drives the output."""

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
)
from layerwise.cli.loading import loaded_for
from layerwise.errors import EditError, PromptError
from layerwise.lens_spec import LOGIT
from layerwise.models.sources.names import DEFAULT_MODEL
from layerwise.text import one_line

if TYPE_CHECKING:
    from layerwise.causal.confirmed import Confirmation
    from layerwise.questions.question import Question

_DRAWS_OF_ONE = 20
"""Placebos beside a single prompt, where no other questions stand in for more of them."""

Asked = list[tuple[str, list["Question"]]]


def confirm(
    what: Annotated[str, typer.Argument(metavar="SET|RUN|PROMPT", help="A question set or its file, a run, a prompt.")],
    other: Annotated[
        str | None, typer.Argument(help="Of a prompt: one whose answer is the other one.", show_default=False)
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Bundled name, alias, hub id, folder or GGUF file; repeat for more. A run's own by default."),
    ] = None,
    lens: Annotated[
        list[str] | None,
        typer.Option(help="Whose reading is confirmed: as for trace; repeat for more. A run's own by default."),
    ] = None,
    answer: Annotated[str, typer.Option(help="Of a prompt: its answer, usually with a leading space.")] = "",
    against: Annotated[str, typer.Option(help="Of a prompt: the other prompt's answer.")] = "",
    milestone: Annotated[
        str, typer.Option(help="Where a lens reads the answer: first_top1 or settled_top1.")
    ] = "first_top1",
    limit: Annotated[int, typer.Option(min=1, help="How many known questions at most, of each direction.")] = 100,
    asked: Annotated[
        list[str] | None, typer.Option("--question-direction", help="Of questions, as in the set; all by default.")
    ] = None,
    wording: Annotated[list[str] | None, typer.Option(help="Of questions, as in the set; all by default.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for a report with all numbers.")] = None,
    title: Annotated[str, typer.Option(help="Of the report.")] = "Does what a lens reads drive the output?",
    seed: Annotated[int, typer.Option(help="Of placebos and intervals.")] = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Exchange what a lens reads of two answers, layer by layer, and say whether the output follows.

    Example: layerwise confirm capitals --model smollm2-135m --lens logit --lens jacobian --out confirm

    Example: layerwise confirm "Germany's capital is" "France's capital is" --answer " Berlin" --against " Paris"
    """
    from layerwise.causal.confirm import confirm as confirmed
    from layerwise.report.confirm_report import write_confirm_report
    from layerwise.report.folder import begin_report

    models, lenses, by_direction, description = _asked(what, other, answer, against, asked or [], wording or [])
    if out:
        begin_report(out)
    found = []
    for name in model or models or [DEFAULT_MODEL]:
        with progress_bar(quiet) as progress:
            loaded = loaded_for(name, progress, trust_remote_code, revision, device, dtype, memory)
            for called, questions in by_direction:
                alone = other is not None
                found.append(
                    confirmed(
                        loaded,
                        called,
                        questions,
                        lenses=lens or lenses or [LOGIT.name],
                        milestone=milestone,
                        limit=1 if alone else limit,
                        draws=_DRAWS_OF_ONE if alone else 1,
                        seed=seed,
                        progress=progress,
                    )
                )
            del loaded  # before the next one is there
    for each in found:
        _print(each)
    if out:
        say_note(f"Report: {write_confirm_report(found, out, title=title, description=description)}")


def _asked(
    what: str, other: str | None, answer: str, against: str, directions: list[str], wordings: list[str]
) -> tuple[list[str], list[str], Asked, str]:
    """Return a run's models and lenses, the questions by direction, and what they are together."""
    from layerwise.questions.question import Question
    from layerwise.questions.sets import open_set

    if other is not None:
        if not answer or not against:
            raise PromptError("A prompt beside another one needs the answers to both: --answer ' …' --against ' …'.")
        first = Question("prompt", what, (answer,), (against,), item="prompt")
        second = Question("other prompt", other, (against,), (answer,), item="other prompt")
        return [], [], [(one_line(what, limit=40), [first, second])], ""
    if answer or against:
        raise PromptError("--answer and --against belong to a prompt: give the other prompt after it.")
    if (Path(what) / "manifest.json").is_file():
        return _of_run(Path(what), directions, wordings)
    opened = open_set(what)
    chosen = opened.some(directions=directions, wordings=wordings)
    return [], [], _by_direction(opened.name, chosen), opened.title


def _of_run(path: Path, directions: list[str], wordings: list[str]) -> tuple[list[str], list[str], Asked, str]:
    """Return what a run asked of question sets, as it is stored: nothing of the study's files is needed."""
    from layerwise.questions.question import Question
    from layerwise.store.run import open_run

    run = open_run(path)
    questions: dict[str, Question] = {}
    for row in run.questions().to_dict("records"):
        fits = (not directions or row["direction"] in directions) and (not wordings or row["wording"] in wordings)
        if row["set"] and fits and len(row["answers"]):
            answers = tuple(each["text"] for each in row["answers"])
            named = {name: row[name] for name in ("set", "item", "direction", "wording")}
            questions.setdefault(row["question"], Question(row["question"], row["prompt"], answers, **named))
    if not questions:
        raise EditError(
            f"The run {one_line(str(path))} asks no such question of a set. An answer is exchanged with another "
            "question's in the same wording, so there have to be some."
        )
    sets = dict.fromkeys(each.set for each in questions.values())
    asked = [each for name in sets for each in _by_direction(name, [q for q in questions.values() if q.set == name])]
    return run.study["models"], run.study["lenses"], asked, run.study["title"]


def _by_direction(name: str, questions: "list[Question] | tuple[Question, ...]") -> Asked:
    directions = dict.fromkeys(each.direction for each in questions)
    return [(f"{name} {each}".strip(), [q for q in questions if q.direction == each]) for each in directions]


def _print(found: "Confirmation") -> None:
    """Print a row for each lens, and the verdict."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from layerwise.causal.confirmed import PLACEBOS
    from layerwise.report.rendering import interval

    console = results_console()
    console.print(Text(f"{one_line(found.model.name)} · {found.name}", "bold"))
    console.print(
        Text(
            f"{found.asked} asked, {found.known} known, {len(found.pairs)} beside another one; {found.milestone}",
            "dim",
        )
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for column in ("lens", "reads it before layer n", "exchange recovers, %", "follows, %", *PLACEBOS, "verdict"):
        table.add_column(column, overflow="fold")
    for lens in found.lenses:
        shown = [found.effect(lens), found.followed(lens), *(found.effect(lens, each) for each in PLACEBOS)]
        there = found.readable_within(lens)
        layers = sorted({layer for layer, within in zip(lens.readable, there, strict=True) if within and layer})
        at = f", layers {layers[0]} to {layers[-1]}" if layers else ""
        counted = f"{int(there.sum())} of {len(found.pairs)}{at}"
        table.add_row(
            one_line(lens.lens), counted, *(interval(each, 100, ".0f") for each in shown), found.verdict(lens)
        )
    console.print(table)
    if len(found.pairs) == 1:
        say_note("Of one question nothing can be said in general: confirm over a set, such as capitals.")
