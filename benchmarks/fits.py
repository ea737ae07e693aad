"""Ridge and tuned lenses fitted on given text: seconds, and how far they are from the output; beside tuned-lens.

tuned-lens's module descends as its training loop does (stochastic gradient descent with Nesterov's momentum, weight
decay, gradients clipped at 1, a rate that falls linearly to nothing), on the same windows, for as long as asked:
twice our time, for instance. The loop itself needs a part of `torchdata` that is gone from it.
"""

import argparse
import pydoc_data.topics
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from rich.console import Console
from torch import Tensor

from benchmarks import inside
from benchmarks.contenders import Models
from benchmarks.machine import describe
from benchmarks.page import measured_on, put
from benchmarks.peers import tuned_lenses
from benchmarks.processes import in_own_process
from benchmarks.progress import tell
from benchmarks.tables import Table
from layerwise.fitting.fit import fit, make_plan, read_text
from layerwise.fitting.held_out import HeldOut
from layerwise.fitting.plan import LENGTH, FitRequest
from layerwise.lens_spec import RIDGE, TUNED
from layerwise.lenses.fitted import FittedLens, Translator
from layerwise.models.loading.loaded import LoadedModel

_EXAMPLE = "example: python -m benchmarks.fits --model smollm2-135m --beside tuned-lens --times 2"
_WINDOWS = 160
"""About 20,000 tokens."""
_AT_ONCE = 4
"""Windows of a step of tuned-lens's."""
_READ_BY_TUNED_LENS = ("smollm2-135m",)
"""tuned-lens 0.2.0 raises on Gemma 3."""


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser("python -m benchmarks.fits", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--model", action="append", help="smollm2-135m and gemma-3-270m; repeat for more")
    parser.add_argument("--beside", choices=["tuned-lens"], help="whom to fit too, on the models that it reads")
    parser.add_argument("--times", type=float, default=2, help="how many times our seconds it has (2)")
    parser.add_argument("--refresh", action="store_true", help="rewrite the measured part of docs/performance.md")
    asked = parser.parse_args()
    rows = []
    for name in asked.model or ["smollm2-135m", "gemma-3-270m"]:
        beside = asked.beside and name in _READ_BY_TUNED_LENS
        found = in_own_process(_measure, name, asked.times if beside else None)
        logit, ridge = found["logit lens"][1], found["ridge"][1]
        for what, (seconds, kl) in found.items():
            took = f"{seconds:.0f} s" if seconds else ""
            rows.append([name, what, took, f"{kl:.2f}", f"{kl / logit:.3f}×", f"{kl / ridge:.2f}×"])
    columns = ["", "", "seconds", "KL to output, bits", "of the logit lens's", "of ridge's"]
    table = Table(
        f"Lenses fitted on {_WINDOWS * LENGTH:,} tokens of Python's manual, median over layers", columns, rows
    )
    Console().print(table.as_rich())
    if asked.refresh:
        put("bench-fits", "\n" + "\n\n".join([measured_on(describe()), table.as_markdown()]) + "\n")


def _measure(name: str, times: float | None) -> dict[str, tuple[float, float]]:
    """Return by lens the seconds of its fit, and its median KL on text that no fit saw, which is the same for all."""
    model = Models(name, "float32").shared
    found: dict[str, tuple[float, float]] = {}
    with model.computing() as loaded, tempfile.TemporaryDirectory() as folder:
        plans = {method: make_plan(loaded, FitRequest(method, None, _WINDOWS)) for method in (RIDGE.name, TUNED.name)}
        text = read_text(loaded, plans[TUNED.name], sorted(pydoc_data.topics.topics.values()))
        held_out = HeldOut(loaded, text.held_out.shard(0, 2).ids)  # the others choose tuned lenses' steps
        layers = range(loaded.n_layers)
        for method, plan in plans.items():
            tell(f"{name}: {method}")
            began = time.perf_counter()
            lens = fit(loaded, plan, text, Path(folder) / method)
            seconds = time.perf_counter() - began
            figures = held_out.figures(lens, layers)
            found.setdefault("logit lens", (0.0, statistics.median(figures.logit_kl_bits)))
            found[method] = (seconds, statistics.median(figures.kl_bits))
        if times is not None:
            allowed = times * found[TUNED.name][0]
            tell(f"{name}: tuned-lens, for {allowed:.0f} s")
            lens = _by_tuned_lens(
                loaded, inside.hf_model(model), torch.cat([half.ids for half in text.halves]), allowed
            )
            found[f"tuned-lens, {times:g} times as long"] = (allowed, statistics.median(held_out.kl_bits(lens, layers)))
    return found


@torch.enable_grad()
def _by_tuned_lens(loaded: LoadedModel, hf: Any, ids: Int[Tensor, "window position"], allowed: float) -> FittedLens:
    """Return what tuned-lens's module comes to in some seconds of descending."""
    lens = tuned_lenses().TunedLens.from_model(hf).float()
    trained = [p for p in lens.parameters() if p.requires_grad]
    descent = torch.optim.SGD(trained, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    draw, began, told = torch.Generator().manual_seed(0), time.perf_counter(), 0
    while (passed := time.perf_counter() - began) < allowed:
        descent.param_groups[0]["lr"] = 0.1 * (1 - passed / allowed)
        some = ids[torch.randint(len(ids), (_AT_ONCE,), generator=draw)]
        with torch.no_grad():
            output = hf(input_ids=some, output_hidden_states=True)
            wanted = output.logits.log_softmax(-1)
        for layer, states in enumerate(output.hidden_states[:-1]):
            said = lens(states, idx=layer).log_softmax(-1)
            (wanted.exp() * (wanted - said)).sum(-1).mean().backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        descent.step()
        descent.zero_grad()
        told += 1
        tell(f"tuned-lens: step {told}, {passed:.0f} of {allowed:.0f} s")
    eye = torch.eye(loaded.output_head.weight.shape[1])
    translators = {layer: Translator(eye + part.weight.detach(), part.bias.detach()) for layer, part in enumerate(lens)}
    return FittedLens(TUNED, translators)


if __name__ == "__main__":
    main()
