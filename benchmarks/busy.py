"""A whole trace beside TransformerLens on an idle machine, and with other programs that want to compute as well.

Both run in turn in one process, in as many threads as the machine has cores, in one, and in more than
it has; each alone, and beside one and two programs that never rest.
"""

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.compare import OURS, Timing, interleaved
from benchmarks.contenders import Layerwise, Models
from benchmarks.inside import hf_tokenizer
from benchmarks.machine import describe
from benchmarks.page import measured_on, put
from benchmarks.peers import TransformerLens
from benchmarks.processes import in_own_process
from benchmarks.progress import tell
from benchmarks.settings import COMPARISONS, MODELS, Work
from benchmarks.tables import Table

SETTINGS = tuple(setting for setting in COMPARISONS if setting.name in ("last", "prompt"))
_EXAMPLE = "example: python -m benchmarks.busy --models gemma-3-270m --threads 2 --beside 0,1"
_PEER = "TransformerLens"


@dataclass(frozen=True)
class Beside:
    """What one setting took."""

    threads: int
    others: int
    """How many programs ran beside it without rest."""
    ours: Timing
    theirs: Timing


def main() -> None:
    """Measure, show, and keep what was found."""
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser("python -m benchmarks.busy", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--models", default=",".join(MODELS), metavar="NAMES")
    parser.add_argument("--threads", default=f"1,{cores},{2 * cores}", metavar="NUMBERS", help="of PyTorch's")
    parser.add_argument("--beside", default="0,1,2", metavar="NUMBERS", help="busy programs beside (0,1,2)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=20, help="for all rounds of one contender in one setting")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every time here")
    parser.add_argument("--refresh", action="store_true", help="rewrite the measured part of docs/performance.md")
    asked = parser.parse_args()
    found = [
        each
        for model in asked.models.split(",")
        for threads in _numbers(asked.threads)
        for each in in_own_process(_measure, model, threads, _numbers(asked.beside), asked.rounds, asked.seconds)
    ]
    made = [_table(model, [each for each in found if each.ours.model == model]) for model in asked.models.split(",")]
    for table in made:
        Console().print(table.as_rich())
    if asked.json:
        content = {"machine": describe(), "results": [asdict(each) for each in found]}
        asked.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if asked.refresh:
        put("bench-busy", "\n" + "\n\n".join([measured_on(describe()), *(t.as_markdown() for t in made)]) + "\n")


def _measure(name: str, threads: int, beside: Sequence[int], rounds: int, seconds: float) -> list[Beside]:
    """Compare with so many threads, with each number of busy programs beside."""
    import torch

    torch.set_num_threads(threads)
    models = Models(name, "float32")
    contenders = {OURS: Layerwise(models), _PEER: TransformerLens(models)}
    found = []
    for setting in SETTINGS:
        work: Work = setting.work(hf_tokenizer(models.shared))
        tasks = {contender: made.on(work) for contender, made in contenders.items()}
        for task in tasks.values():
            task.run()
        for others in beside:
            tell(f"{name}: {setting.title}, {threads} threads beside {others} busy programs")
            with _busy_programs(others):
                times = interleaved(tasks, rounds, seconds)
            timings = {each: Timing(name, setting.name, each, tuple(times[each])) for each in tasks}
            found.append(Beside(threads, others, timings[OURS], timings[_PEER]))
    return found


@contextmanager
def _busy_programs(count: int) -> Iterator[None]:
    """Keep so many processes computing without rest."""
    context = multiprocessing.get_context("spawn")
    programs = [context.Process(target=_compute_without_rest, daemon=True) for _ in range(count)]
    for program in programs:
        program.start()
    time.sleep(1 if programs else 0)  # until they have started
    try:
        yield
    finally:
        for program in programs:
            program.kill()
            program.join()


def _compute_without_rest() -> None:
    number = 1
    while os.getppid() > 1:  # not for ever, if whoever started it is killed
        for _ in range(1_000_000):
            number = number * 5 % 1_000_003


def _table(model: str, found: Sequence[Beside]) -> Table:
    titles = {setting.name: setting.title for setting in SETTINGS}
    rows = [
        [
            titles[each.ours.setting],
            str(each.threads),
            str(each.others),
            f"{1000 * each.ours.median_seconds:.0f} ms",
            f"{1000 * each.theirs.median_seconds:.0f} ms",
            f"{each.theirs.times(each.ours):.1f}×",
        ]
        for each in found
    ]
    return Table(model, ["", "threads", "busy programs beside", "layerwise", _PEER, "ratio"], rows)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    main()
