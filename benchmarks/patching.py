"""Patch grids beside TransformerLens's: the same prompts and effect, in turn, as a ratio; and the largest difference.

Both put clean values into a corrupted run. TransformerLens runs the model once for each cell; what its cache of the
clean run takes is counted, as ours is. Prompts differ at the position that is named, or at every one.

With --approximate, attribution patching beside our own exact grid instead, of the effect alone, and how far off it is:
what its exact cells say, and what all cells do.
"""

import argparse
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.clock import seconds_of
from benchmarks.contenders import Models
from benchmarks.machine import describe
from benchmarks.page import measured_on, put
from benchmarks.processes import in_own_process
from benchmarks.progress import tell
from benchmarks.tables import Table
from layerwise.causal.grid import PatchGrid
from layerwise.causal.patching import patch

_EXAMPLE = "example: python -m benchmarks.patching --rounds 1 --model smollm2-135m --kind resid_pre"
_MODELS = ("smollm2-135m", "gemma-3-270m")
_KINDS = {
    "resid_pre": "get_act_patch_resid_pre",
    "attn_out": "get_act_patch_attn_out",
    "mlp_out": "get_act_patch_mlp_out",
    "z": "get_act_patch_attn_head_out_all_pos",
}
"""By kind, TransformerLens's function."""

_LONG = "It was a cold day, and when they spoke of their journey, he told her that he had seen the capital of"
_PAIRS = {
    "short": ("The capital of Germany is", "The capital of France is"),
    "long": (f"{_LONG} Germany,", f"{_LONG} France,"),
}
_EARLY = {
    "early": (
        "Berlin is the capital of Germany, and Paris is the capital of",
        "Madrid is the capital of Spain, and Rome is the capital of",
    )
}
"""Nearly all positions differ."""

_ANSWERS = (" Berlin", " Paris")
_OF_EARLY = (" France", " Italy")


@dataclass(frozen=True)
class Compared:
    """One grid, both ways."""

    positions: int
    ours: float
    theirs: float
    difference: float
    """The largest between the two, in logits."""


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser("python -m benchmarks.patching", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--model", action="append", help="smollm2-135m and gemma-3-270m; repeat for more")
    parser.add_argument("--kind", action="append", choices=_KINDS, help="all; repeat for more")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are compared (3)")
    parser.add_argument("--refresh", action="store_true", help="rewrite the measured part of docs/performance.md")
    parser.add_argument("--approximate", action="store_true", help="attribution patching beside the exact grid")
    asked = parser.parse_args()
    if asked.approximate:
        Console().print(_approximations(asked.model or _MODELS, asked.kind or _KINDS, asked.rounds).as_rich())
        return
    rows = []
    for name in asked.model or _MODELS:
        for kind in asked.kind or _KINDS:
            for case, pair in _PAIRS.items():
                found = in_own_process(_compare, name, kind, pair, asked.rounds)
                tell(f"{name}, {kind}, {case}: {found}")
                rows.append(
                    [
                        name,
                        kind,
                        f"{found.positions}",
                        f"{found.ours:.2f} s",
                        f"{found.theirs:.1f} s",
                        f"{found.theirs / found.ours:.0f}×",
                        f"{found.difference:.0e}",
                    ]
                )
    columns = ["", "kind", "tokens", "layerwise", "TransformerLens", "ahead", "largest difference in logits"]
    table = Table("Patch grids: all layers, at all positions or of all heads", columns, rows)
    Console().print(table.as_rich())
    if asked.refresh:
        put("bench-patching", "\n" + "\n\n".join([measured_on(describe()), table.as_markdown()]) + "\n")


def _compare(name: str, kind: str, prompts: tuple[str, str], rounds: int) -> Compared:
    from transformer_lens import patching

    model = Models(name, "float32").shared
    bridge = model.bridge
    first = patch(model, *prompts, *_ANSWERS, kinds=kind)  # which checks the model's numbers once
    clean, corrupted = (torch.tensor([[token.id for token in tokens]]) for tokens in (first.clean, first.corrupted))
    answers = [token.id for token in (first.answer, first.against) if token]
    seen: dict[str, Tensor] = {}

    def effect(logits: Tensor) -> Tensor:
        return logits[0, -1, answers[0]] - logits[0, -1, answers[1]]

    def theirs() -> None:
        with torch.no_grad():
            _, cache = bridge.run_with_cache(clean)
            seen["theirs"] = getattr(patching, _KINDS[kind])(bridge, corrupted, cache, effect)

    def ours() -> None:
        found = patch(model, *prompts, *_ANSWERS, kinds=kind)
        seen["ours"] = torch.from_numpy(found.grid(kind).values["logit_difference"])

    sides: dict[str, Callable[[], None]] = {"ours": ours, "theirs": theirs}
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side, run in list(sides.items())[:: 1 if number % 2 else -1]:
            taken[side].append(seconds_of(run))
    difference = float((seen["ours"] - seen["theirs"].double()).abs().max())
    medians = {side: statistics.median(seconds) for side, seconds in taken.items()}
    return Compared(clean.shape[1], medians["ours"], medians["theirs"], difference)


def _approximations(models: Iterable[str], kinds: Iterable[str], rounds: int) -> Table:
    """Return how long attribution patching and the exact grid take, and how far apart they are."""
    rows = []
    for name in models:
        for kind in kinds:
            for case, pair in (_PAIRS | _EARLY).items():
                row = in_own_process(_approximate, name, kind, pair, _OF_EARLY if case in _EARLY else _ANSWERS, rounds)
                tell(f"{name}, {kind}, {case}: {row}")
                rows.append([name, kind, case, *row])
    columns = ["", "kind", "pair", "cells", "exact", "approximate", "correlation", "of all", "mean error", "of all"]
    return Table("Attribution patching beside exact grids", columns, rows)


def _approximate(name: str, kind: str, prompts: tuple[str, str], answers: tuple[str, str], rounds: int) -> list[str]:
    model = Models(name, "float32").shared
    taken: dict[bool, list[float]] = {False: [], True: []}
    grids: dict[bool, PatchGrid] = {}

    def run(approximate: bool) -> None:
        found = patch(model, *prompts, *answers, kinds=kind, only_effect=True, approximate=approximate)
        grids[approximate] = found.grid(kind)

    run(False)  # which checks the model's numbers once
    for number in range(rounds):
        for approximate in (False, True) if number % 2 else (True, False):
            taken[approximate].append(seconds_of(lambda approximate=approximate: run(approximate)))
    approximation = grids[True].approximation
    assert approximation is not None
    exact, approximate = grids[False].recovery, grids[True].recovery
    changed = approximate != 0
    return [
        f"{approximation.of}",
        *(f"{statistics.median(taken[each]):.2f} s" for each in (False, True)),
        f"{approximation.correlation:.2f}",
        f"{np.corrcoef(exact[changed], approximate[changed])[0, 1]:.2f}",
        f"{approximation.mean_error:.3f}",
        f"{np.abs(exact - approximate)[changed].mean():.3f}",
    ]


if __name__ == "__main__":
    main()
