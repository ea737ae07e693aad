"""Speed and memory of layerwise beside other tools, on this machine.

Each comparison runs all its contenders in turn in one process; a ratio is the median over the
rounds. Memory is what a trace adds to a process with its model loaded and warm (Linux). All of it
takes about half an hour on two cores, --quick a minute.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from benchmarks import machine
from benchmarks.compare import Timing, compare
from benchmarks.memory import Peak, peak_of_trace
from benchmarks.page import PAGE, refresh
from benchmarks.processes import in_own_process
from benchmarks.progress import tell
from benchmarks.results import Results
from benchmarks.settings import COMPARISONS, MEMORY, MODELS
from benchmarks.sizes import costs
from benchmarks.startup import Startup, time_help, time_load
from benchmarks.tables import costs_table, tables

_SETTINGS = (*(setting.name for setting in COMPARISONS), "memory", "sizes", "startup")
_EXAMPLE = """\
example: one model, two settings, all times kept
  python -m benchmarks --models gemma-3-270m --settings last,64 --json results.json
"""


@dataclass(frozen=True)
class Plan:
    """What is measured, and how thoroughly."""

    models: Sequence[str] = MODELS
    settings: Sequence[str] = _SETTINGS
    rounds: int = 9
    seconds: float = 10
    """For all rounds of one contender in one setting; slow ones run fewer."""
    memory: int = len(MEMORY)
    """How many of the memory settings."""
    sizes: int | None = None
    """How many of the smallest sizes on each axis; None for all."""


_WHOLE = Plan()
_QUICK = Plan(MODELS[:1], ("last", "prompt", "memory", "sizes"), rounds=2, memory=1, sizes=1)


def main() -> None:
    """Measure what is asked for, show it, and keep it where asked."""
    arguments = _parser().parse_args()
    results = _measure(_plan(arguments))
    _show(results)
    if arguments.json:
        results.write(arguments.json)
    if arguments.refresh:
        refresh(results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m benchmarks",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--models", metavar="NAMES", help=f"by default {','.join(_WHOLE.models)}")
    parser.add_argument("--settings", metavar="NAMES", help=f"by default all: {','.join(_SETTINGS)}")
    parser.add_argument("--rounds", type=int, help=f"at most ({_WHOLE.rounds}); slow ones run fewer, but twice")
    parser.add_argument("--quick", action="store_true", help="does everything still run? One model, two rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything here")
    parser.add_argument("--refresh", action="store_true", help=f"rewrite the measured part of {PAGE}, and its figures")
    return parser


def _plan(arguments: argparse.Namespace) -> Plan:
    asked = {
        "models": arguments.models and arguments.models.split(","),
        "settings": arguments.settings and arguments.settings.split(","),
        "rounds": arguments.rounds,
    }
    if unknown := set(asked["settings"] or ()) - set(_SETTINGS):
        raise SystemExit(f"No such setting: {', '.join(sorted(unknown))}. There are {', '.join(_SETTINGS)}.")
    return replace(_QUICK if arguments.quick else _WHOLE, **{name: wish for name, wish in asked.items() if wish})


def _measure(plan: Plan) -> Results:
    return Results(
        machine.describe(),
        startups=_startups(plan) if "startup" in plan.settings else [],
        timings=_timings(plan),
        peaks=_peaks(plan) if "memory" in plan.settings else [],
        costs=costs(plan.sizes) if "sizes" in plan.settings else [],
    )


def _timings(plan: Plan) -> list[Timing]:
    """Compare, with a process for each model and precision."""
    timings = []
    for model in plan.models:
        for dtype in ("float32", "bfloat16"):
            settings = [s for s in COMPARISONS if s.name in plan.settings and s.dtype == dtype]
            if settings:
                timings += in_own_process(compare, model, dtype, settings, plan.rounds, plan.seconds)
    return timings


def _peaks(plan: Plan) -> list[Peak]:
    peaks = []
    for model in plan.models:
        for setting in MEMORY[: plan.memory]:
            tell(f"{model}: memory, {setting.title}")
            peaks.append(in_own_process(peak_of_trace, model, setting))
    return peaks


def _startups(plan: Plan) -> list[Startup]:
    return [time_help(), *(in_own_process(time_load, model) for model in plan.models)]


def _show(results: Results) -> None:
    console = Console()
    for table in [*tables(results), *([costs_table(results)] if results.costs else [])]:
        console.print(table.as_rich())
    if results.timings:
        console.print("× tells how many times as long as layerwise; ÷ sets layerwise's readout against its own limit.")


if __name__ == "__main__":
    main()
