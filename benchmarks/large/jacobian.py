"""A Jacobian lens for the shapes of Qwen3-8B, under a budget: time beside what was foretold, memory, bytes read.

Needs 17 GB of disk for a checkpoint with random weights, which is written once, and some more for sums. Each position
of a text takes minutes of this size of model, so texts are short by default: one position more than are left out.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.large.checkpoint import write_checkpoint
from benchmarks.large.measures import peak_bytes
from benchmarks.machine import describe
from benchmarks.page import measured_on, put
from benchmarks.processes import in_own_process
from benchmarks.progress import tell
from benchmarks.tables import Table

_EXAMPLE = "example: python -m benchmarks.large.jacobian --memory 6GB --layers 24: --refresh"
_TEXTS = 2
"""One for each half."""


@dataclass(frozen=True)
class Fit:
    """What a fit took."""

    layers: int
    load_seconds: float
    foretold_seconds: float
    seconds: float
    """Of the texts alone."""
    whole_seconds: float
    """With the model's checks, the estimate, held-out text and writing."""
    times_read: float
    """Bytes of weights read while the texts were taken, in those of all blocks, per text."""
    peak_gigabytes: float


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser("python -m benchmarks.large.jacobian", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--folder", type=Path, default=Path("runs/qwen3-8b-shapes"), help="of the checkpoint")
    parser.add_argument("--memory", default="6GB", help="budget (6GB)")
    parser.add_argument("--length", type=int, default=18, help="tokens of a text, of which 17 are left out (18)")
    parser.add_argument("--layers", help="as in layerwise lens fit (all)")
    parser.add_argument("--refresh", action="store_true", help="rewrite the measured part of docs/performance.md")
    asked = parser.parse_args()
    tell("the checkpoint")
    in_own_process(write_checkpoint, asked.folder)
    found = in_own_process(fit, asked.folder, asked.memory, asked.length, asked.layers)
    table = _table(found, asked.memory, asked.length)
    Console().print(table.as_rich())
    if asked.refresh:
        put("bench-jacobian-large", "\n" + "\n\n".join([measured_on(describe()), table.as_markdown()]) + "\n")


def fit(folder: Path, memory: str, length: int, layers: str | None) -> Fit:
    """Return what fitting a lens costs. To be run in a process of its own."""
    import layerwise as lw
    from benchmarks import inside
    from layerwise.fitting.jacobian import JacobianSums

    began = time.perf_counter()
    model = lw.load(folder, memory=memory)
    loaded = time.perf_counter()
    foretold, taken, read = [], [], []
    usual = JacobianSums.add

    def add(self, windows, progress=None) -> None:
        before, at = model.bytes_read, time.perf_counter()
        usual(self, windows, progress)
        taken.append(time.perf_counter() - at)
        read.append(model.bytes_read - before)

    JacobianSums.add = add
    document = "the river runs from the mountains in the north to the sea " * length
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        lens = lw.fit_lens(
            model,
            "jacobian",
            Path(out) / "lens",
            [f"{number} {document}" for number in range(8)],
            count=_TEXTS,
            length=length,
            layers=layers,
            progress=lambda what, done, total: tell(f"{what}, {done} of {total}") if done == total else None,
            on_estimate=lambda estimate: foretold.append(estimate.seconds),
        )
    return Fit(
        layers=len(lens.translators),
        load_seconds=loaded - began,
        foretold_seconds=foretold[0],
        seconds=sum(taken),
        whole_seconds=time.perf_counter() - loaded,
        times_read=sum(read) / len(read) / inside.bytes_of_blocks(model),
        peak_gigabytes=peak_bytes() / 1e9,
    )


def _table(found: Fit, memory: str, length: int) -> Table:
    rows = [
        ["loading", f"{found.load_seconds:.0f} s"],
        ["foretold for the texts", f"{found.foretold_seconds:.0f} s"],
        ["the texts", f"{found.seconds:.0f} s, {found.seconds / found.foretold_seconds:.2f}× what was foretold"],
        ["with checks, held-out text and writing", f"{found.whole_seconds:.0f} s"],
        ["weights read for each text", f"{found.times_read:.2f}× all blocks"],
        ["peak memory", f"{found.peak_gigabytes:.2f} GB of {memory}"],
    ]
    title = f"Shapes of Qwen3-8B: a Jacobian lens of {found.layers} layers, {_TEXTS} texts of {length} tokens"
    return Table(title, ["", ""], rows)


if __name__ == "__main__":
    main()
