"""Reading through fitted lenses beside the logit lens alone: whole traces, in turn, as ratios.

What a lens's numbers are makes no difference to how long they take, so the lenses are made up: whole matrices with a
bias for every layer, as ridge and tuned lenses have. Each round reads all of them once, in another order, so that
what else the machine does falls on all alike.
"""

import argparse
import pydoc_data.topics
import random
import statistics

import torch
from rich.console import Console

from benchmarks.clock import seconds_of
from benchmarks.contenders import Models
from benchmarks.machine import describe
from benchmarks.page import measured_on, put
from benchmarks.processes import in_own_process
from benchmarks.progress import tell
from benchmarks.tables import Table
from layerwise import Lens, Request
from layerwise.lens_spec import RIDGE, LensSpec
from layerwise.lenses.fitted import FittedLens, Translator

_EXAMPLE = "example: python -m benchmarks.lenses --rounds 5 --model smollm2-135m"
_TEXT = " ".join(pydoc_data.topics.topics["assert"].split())
CASES = {
    "one prompt of 10 tokens": [Request(_TEXT[:40])],
    "one prompt of 64 tokens, all positions": [Request(_TEXT[:260], positions="all")],
    "64 prompts of 10 tokens": [Request(_TEXT[at : at + 40]) for at in range(64)],
}
"""Of about so many tokens."""


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser("python -m benchmarks.lenses", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--model", action="append", help="smollm2-135m and gemma-3-270m; repeat for more")
    parser.add_argument("--rounds", type=int, default=9, help="of which the medians are compared (9)")
    parser.add_argument("--refresh", action="store_true", help="rewrite the measured part of docs/performance.md")
    asked = parser.parse_args()
    rows = []
    for name in asked.model or ["smollm2-135m", "gemma-3-270m"]:
        for case, (alone, one, four) in in_own_process(_compare, name, asked.rounds).items():
            rows.append([name, case, f"{alone * 1000:.0f} ms", f"{one / alone:.2f}×", f"{four / alone:.2f}×"])
    columns = ["", "", "logit lens alone", "one fitted lens", "four fitted lenses"]
    table = Table("Traces through fitted lenses", columns, rows)
    Console().print(table.as_rich())
    if asked.refresh:
        put("bench-lenses", "\n" + "\n\n".join([measured_on(describe()), table.as_markdown()]) + "\n")


def _compare(name: str, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Return by case the medians of seconds: through the logit lens, one fitted lens, and four."""
    model = Models(name, "float32").shared
    fitted = [_made_up(model.n_layers, model.info.d_model, seed) for seed in range(4)]
    sides: dict[str, list[str | Lens]] = {"logit": ["logit"], "one": [fitted[0]], "four": [*fitted]}
    found, order = {}, random.Random(0)
    for case, requests in CASES.items():
        taken = {side: [] for side in sides}
        for number in range(-1, rounds):  # the first round warms up
            tell(f"{name}: {case}, round {max(number, 0) + 1} of {rounds}")
            for side in order.sample(sorted(sides), len(sides)):
                lenses = sides[side]
                seconds = seconds_of(lambda lenses=lenses, requests=requests: model.trace_all(requests, lenses=lenses))
                taken[side] += [seconds] * (number >= 0)
        found[case] = tuple(statistics.median(taken[side]) for side in sides)
    return found


def _made_up(n_layers: int, d_model: int, seed: int) -> FittedLens:
    draw = torch.Generator().manual_seed(seed)
    spec = LensSpec(f"{RIDGE.name}:{seed}", RIDGE.reads, RIDGE.ends_at_output, sum=f"{seed:064x}")
    eye = torch.eye(d_model)
    return FittedLens(
        spec,
        {
            layer: Translator(eye + torch.randn(d_model, d_model, generator=draw) / 100, torch.zeros(d_model))
            for layer in range(n_layers)
        },
    )


if __name__ == "__main__":
    main()
