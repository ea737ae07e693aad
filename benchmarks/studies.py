"""Studies: throughput beside a loop over TransformerLens's `logit_lens`, the time of a whole run, its memory.

layerwise scores whole answers, aliases and a wrong answer at every layer, with all measures and
identity checks. One loop reads the likeliest tokens and the entropy after each prompt and knows
nothing of answers; the other runs what whole answers need: each prompt with each answer's tokens
after it, read at all of these. Questions come in runs of consecutive ones, as shards have them.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from rich.console import Console

import layerwise as lw
from benchmarks.clock import seconds_of
from benchmarks.contenders import Models
from benchmarks.machine import describe
from benchmarks.memory import added_peak
from benchmarks.page import measured_on, put
from benchmarks.peers import TransformerLens
from benchmarks.processes import in_own_process
from benchmarks.progress import tell
from benchmarks.tables import Table
from layerwise.execution.recording import record
from layerwise.questions.question import Question
from layerwise.studies.study import PlannedStudy, read_study

STUDY = Path(__file__).parents[1] / "experiments" / "002_question_types" / "study.toml"
_CONSECUTIVE = 32
_EXAMPLE = "example: python -m benchmarks.studies --questions 64 --rounds 1 --without whole,memory"


def main() -> None:
    """Measure, show, and keep what was found."""
    parser = argparse.ArgumentParser("python -m benchmarks.studies", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--questions", type=int, default=160, help="to compare on, of experiment 002 (160)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--without", default="", metavar="NAMES", help="leave out: whole, memory")
    parser.add_argument("--refresh", action="store_true", help="rewrite the measured part of docs/performance.md")
    asked = parser.parse_args()
    planned, left_out = read_study(STUDY), asked.without.split(",")
    tables = [_throughput(planned, asked.questions, asked.rounds)]
    if "whole" not in left_out:
        tables.append(_whole(planned))
    if "memory" not in left_out:
        tables.append(_memory(planned))
    for table in tables:
        Console().print(table.as_rich())
    if asked.refresh:
        put("bench-studies", "\n" + "\n\n".join([measured_on(describe()), *(t.as_markdown() for t in tables)]) + "\n")


def _throughput(planned: PlannedStudy, count: int, rounds: int) -> Table:
    rows = []
    for name in planned.study.models:
        ours, prompts, answers = in_own_process(_compare, name, planned, count, rounds)
        rows.append(
            [
                name,
                f"{count / ours:.1f}",
                f"{count / prompts:.1f} ({prompts / ours:.1f}×)",
                f"{count / answers:.1f} ({answers / ours:.1f}×)",
            ]
        )
    columns = ["", "layerwise", "TransformerLens, prompts alone", "TransformerLens, whole answers"]
    return Table(f"Questions a second, on {count} of experiment 002", columns, rows)


def _compare(name: str, planned: PlannedStudy, count: int, rounds: int) -> tuple[float, float, float]:
    """Return the median seconds of the study's traces and of both loops, run in turn."""
    models = Models(name, "float32")
    model, peer = models.shared, TransformerLens(models)
    requests = [planned.request(question) for question in _spread(planned.questions, count)]

    def trace() -> list[list[lw.Trace]]:
        return model.trace_all(requests, check_length_groups=True)

    traces = [each for [each] in trace()]

    def loop(tails_of: Callable[[lw.Trace], list[tuple[int, ...]]]) -> None:
        with torch.no_grad():
            for each in traces:
                ids = tuple(token.id for token in each.tokens)
                for tail in tails_of(each):
                    peer.read(torch.tensor([ids + tail]), slice(len(ids) - 1, len(ids + tail)))

    times: list[list[float]] = []
    for number in range(rounds):
        tell(f"{name}: round {number + 1} of {rounds}")
        runs = (trace, lambda: loop(lambda _: [()]), lambda: loop(_tails))
        times.append([seconds_of(run) for run in runs])
    ours, prompts, answers = (median(each) for each in zip(*times, strict=True))
    return ours, prompts, answers


def _spread(questions: Sequence[Question], count: int) -> list[Question]:
    """Return so many questions, in runs of consecutive ones spread over all."""
    runs = [questions[start : start + _CONSECUTIVE] for start in range(0, len(questions), _CONSECUTIVE)]
    wanted = -(-count // _CONSECUTIVE)
    return [question for index in range(wanted) for question in runs[index * len(runs) // wanted]][:count]


def _tails(trace: lw.Trace) -> list[tuple[int, ...]]:
    """Return the answers' tokens that have to be run after the prompt, none of them the beginning of another."""
    scored = [*(trace.answer.answers if trace.answer else ()), *(trace.wrong.answers if trace.wrong else ())]
    tails = {answer.ids[:-1] for answer in scored} or {()}
    return [t for t in tails if not any(other != t and other[: len(t)] == t for other in tails)]


def _whole(planned: PlannedStudy) -> Table:
    rows = []
    for name in planned.study.models:
        tell(f"{name}: all of experiment 002")
        seconds, _ = in_own_process(_recorded, name, planned, planned.questions)
        rows.append([name, f"{len(planned.questions):,}", f"{seconds:.0f} s"])
    return Table("All of experiment 002, loading and storing included", ["", "questions", "time"], rows)


def _memory(planned: PlannedStudy) -> Table:
    name, rows = planned.study.models[-1], []
    for count in (256, 1024):
        tell(f"memory with {count} questions")
        _, peak = in_own_process(_recorded, name, planned, _spread(planned.questions, count))
        rows.append([f"{count:,}", "" if peak is None else f"{peak:.0f} MB"])
    return Table(f"Memory that a run adds, {name}", ["questions", "added at the peak"], rows)


def _recorded(name: str, planned: PlannedStudy, questions: Sequence[Question]) -> tuple[float, float | None]:
    """Return the seconds that a run takes, its model loaded within, and the MB that it adds."""
    study = planned.study.model_copy(update={"models": [name]})
    some = replace(planned, study=study, questions=tuple(questions))
    peaks: list[float | None] = []
    with tempfile.TemporaryDirectory() as folder:

        def run() -> None:
            peaks.append(added_peak(lambda: record(some, Path(folder) / "run", load=lw.load)))

        return seconds_of(run), peaks[0]


if __name__ == "__main__":
    main()
