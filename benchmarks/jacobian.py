"""Jacobian lenses: the same estimator on the same texts beside TransformerLens's `JacobianLens.fit`, and its error.

Both take each text in turn, one after the other, so that what else the machine does falls on both. TransformerLens's
time depends on how many cotangents it takes at once (`dim_batch`): the best of those tried counts. Ours is measured in
float32 and, by PyTorch's name `medium`, with products in bfloat16 where the processor can.
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
_PRECISIONS = ("highest", "medium")


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
        ours, theirs, errors = in_own_process(_compare, name, asked.texts, asked.dim_batch or [8, 16], asked.blocks)
        best = min(theirs.values())
        tried = ", ".join(f"{size}: {seconds:.0f} s" for size, seconds in theirs.items())
        rows += [
            [name, precision, f"{seconds:.0f} s", tried, f"{best / seconds:.2f}×", f"{errors[precision]:.0e}"]
            for precision, seconds in ours.items()
        ]
    columns = ["", "precision", "layerwise", "TransformerLens, by dim_batch", "ahead", "largest relative difference"]
    which = f"the last {asked.blocks} layers" if asked.blocks else "all layers"
    table = Table(f"A Jacobian lens of {which}, a text of {LENGTH} tokens", columns, rows)
    Console().print(table.as_rich())
    if asked.refresh:
        put("bench-jacobian", "\n" + "\n\n".join([measured_on(describe()), table.as_markdown()]) + "\n")


def _compare(
    name: str, count: int, sizes: list[int], blocks: int | None
) -> tuple[dict[str, float], dict[int, float], dict[str, float]]:
    """Return seconds per text, ours by precision and theirs by dim_batch, and by precision how far ours are off."""
    model = Models(name, "float32").shared
    bridge, first = model.bridge, max(1, model.n_layers - (blocks or model.n_layers))
    texts = [text for _, text in sorted(pydoc_data.topics.topics.items()) if len(text) > 10 * LENGTH][:count]
    layers = range(first, model.n_layers)
    sums = {precision: JacobianSums(model._loaded, layers, precision=precision) for precision in _PRECISIONS}
    ours, theirs, lenses = dict.fromkeys(sums, 0.0), dict.fromkeys(sizes, 0.0), list[JacobianLens]()

    def fit(text: str, size: int) -> None:
        sources = [layer - 1 for layer in range(first, model.n_layers)]  # what leaves a block is the layer after it
        settings = {"corpus": "Python's manual", "max_seq_len": LENGTH, "show_progress": False}
        lenses.append(JacobianLens.fit(bridge, [text], source_layers=sources, dim_batch=size, **settings))

    for number, text in enumerate(texts):
        ids = bridge.to_tokens(text)[:, :LENGTH]
        for precision, each in sums.items():
            tell(f"{name}: text {number + 1} of {count}, layerwise, {precision} precision")
            ours[precision] += seconds_of(lambda ids=ids, each=each: each.add(ids))
        for size in sizes:
            tell(f"{name}: text {number + 1} of {count}, TransformerLens, dim_batch {size}")
            theirs[size] += seconds_of(lambda text=text, size=size: fit(text, size))
    wanted = JacobianLens.merge(lenses[:: len(sizes)]).jacobians
    errors = dict[str, float]()
    for precision, each in sums.items():
        found = each.translators()
        errors[precision] = max(
            float((found[index + 1].matrix - matrix).norm() / matrix.norm()) for index, matrix in wanted.items()
        )
    by_precision = {precision: seconds / count for precision, seconds in ours.items()}
    return by_precision, {size: seconds / count for size, seconds in theirs.items()}, errors


if __name__ == "__main__":
    main()
