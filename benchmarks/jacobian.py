"""Jacobian lenses: the same estimator on the same texts beside TransformerLens's `JacobianLens.fit`, and its error.

Both take each text in turn, one after the other, so that what else the machine does falls on both. TransformerLens's
time depends on how many cotangents it takes at once (`dim_batch`): the best of those tried counts.
"""

import argparse
import pydoc_data.topics

from rich.console import Console
from transformer_lens.tools.analysis import JacobianLens

from benchmarks.clock import seconds_of
from benchmarks.contenders import Models
from benchmarks.machine import describe
from benchmarks.page import measured_on, put
from benchmarks.processes import in_own_process
from benchmarks.progress import tell
from benchmarks.tables import Table
from layerwise.fitting.jacobian import JacobianSums
from layerwise.fitting.plan import LENGTH

_EXAMPLE = "example: python -m benchmarks.jacobian --texts 1 --model smollm2-135m --dim-batch 8"


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser("python -m benchmarks.jacobian", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--model", action="append", help="smollm2-135m and gemma-3-270m; repeat for more")
    parser.add_argument("--texts", type=int, default=4, help="how many, of 128 tokens each (4)")
    parser.add_argument("--dim-batch", type=int, action="append", help="TransformerLens's, repeat for more (8, 16)")
    parser.add_argument("--blocks", type=int, help="from the last down, for a quick look (all)")
    parser.add_argument("--refresh", action="store_true", help="rewrite the measured part of docs/performance.md")
    asked = parser.parse_args()
    rows = []
    for name in asked.model or ["smollm2-135m", "gemma-3-270m"]:
        ours, theirs, error = in_own_process(_compare, name, asked.texts, asked.dim_batch or [8, 16], asked.blocks)
        best = min(theirs.values())
        tried = ", ".join(f"{size}: {seconds:.0f} s" for size, seconds in theirs.items())
        rows.append([name, f"{ours:.0f} s", tried, f"{best / ours:.2f}×", f"{error:.0e}"])
    columns = ["", "layerwise", "TransformerLens, by dim_batch", "ahead", "largest relative difference"]
    which = f"the last {asked.blocks} layers" if asked.blocks else "all layers"
    table = Table(f"A Jacobian lens of {which}, a text of {LENGTH} tokens", columns, rows)
    Console().print(table.as_rich())
    if asked.refresh:
        put("bench-jacobian", "\n" + "\n\n".join([measured_on(describe()), table.as_markdown()]) + "\n")


def _compare(name: str, count: int, sizes: list[int], blocks: int | None) -> tuple[float, dict[int, float], float]:
    """Return seconds per text, ours and theirs by dim_batch, and how far the matrices are from each other."""
    model = Models(name, "float32").shared
    bridge, first = model.bridge, max(1, model.n_layers - (blocks or model.n_layers))
    texts = [text for _, text in sorted(pydoc_data.topics.topics.items()) if len(text) > 10 * LENGTH][:count]
    sums = JacobianSums(model._loaded, range(first, model.n_layers))
    ours, theirs, lenses = 0.0, dict.fromkeys(sizes, 0.0), list[JacobianLens]()

    def fit(text: str, size: int) -> None:
        sources = [layer - 1 for layer in range(first, model.n_layers)]  # what leaves a block is the layer after it
        settings = {"corpus": "Python's manual", "max_seq_len": LENGTH, "show_progress": False}
        lenses.append(JacobianLens.fit(bridge, [text], source_layers=sources, dim_batch=size, **settings))

    for number, text in enumerate(texts):
        ids = bridge.to_tokens(text)[:, :LENGTH]
        tell(f"{name}: text {number + 1} of {count}, layerwise")
        ours += seconds_of(lambda ids=ids: sums.add(ids))
        for size in sizes:
            tell(f"{name}: text {number + 1} of {count}, TransformerLens, dim_batch {size}")
            theirs[size] += seconds_of(lambda text=text, size=size: fit(text, size))
    found = sums.translators()
    lens = JacobianLens.merge(lenses[:: len(sizes)])
    error = max(
        float((found[index + 1].matrix - matrix).norm() / matrix.norm()) for index, matrix in lens.jacobians.items()
    )
    return ours / count, {size: seconds / count for size, seconds in theirs.items()}, error


if __name__ == "__main__":
    main()
