"""How many texts a Jacobian lens needs: what more of them change, beside what other texts change.

Two lenses are fitted, each on texts of its own, and looked at along the way. A lens of few texts is as good as one of
all if its figures differ from the full one's by no more than the two full ones differ from each other. What a text
costs is the same for every fit, so a share of the texts is a share of the time. With `--precision medium` the way back
is multiplied in bfloat16, where the processor can, and the fewest texts are gone through in float32 as well.
"""

import argparse
import dataclasses
import statistics
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Int
from rich.console import Console
from torch import Tensor

from benchmarks.clock import seconds_of
from benchmarks.machine import describe
from benchmarks.page import measured_on, put
from benchmarks.processes import in_own_process
from benchmarks.progress import tell
from benchmarks.tables import Table
from layerwise import Model, evaluate_lenses, load
from layerwise.fitting.held_out import HeldOut
from layerwise.fitting.jacobian import JacobianSums
from layerwise.fitting.plan import LENGTH
from layerwise.fitting.text.self_text import write_documents
from layerwise.fitting.text.windows import beginning
from layerwise.lens_spec import JACOBIAN
from layerwise.lenses.fitted import FittedLens
from layerwise.models.machine.precision import PRECISIONS

_EXAMPLE = "example: python -m benchmarks.jacobian_texts --model smollm2-135m --texts 40 --blocks 6"
_SHARES = (0.1, 0.25, 0.5, 1)
_EXACT = "highest"
_HELD_OUT = 32


@dataclasses.dataclass(frozen=True)
class Row:
    """Lenses of so many texts: figures of both, on texts of their own."""

    texts: int
    precision: str
    seconds: float
    pass_at_10: tuple[float, float]
    top1: tuple[float, float]
    """Share of held-out positions at which the lens says what the output says; median over layers."""
    agreement: float
    """Share at which it says what the full lens on other texts says; median over layers, mean of both."""


def main() -> None:
    """Measure and show."""
    parser = argparse.ArgumentParser("python -m benchmarks.jacobian_texts", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--model", action="append", help="smollm2-135m and gemma-3-270m; repeat for more")
    parser.add_argument("--texts", type=int, default=100, help="of each lens (100)")
    parser.add_argument("--length", type=int, default=LENGTH, help=f"of a text, in tokens ({LENGTH})")
    parser.add_argument("--blocks", type=int, default=6, help="from the last down (6)")
    parser.add_argument("--precision", choices=PRECISIONS, default=_EXACT, help=f"of the way back ({_EXACT})")
    parser.add_argument("--refresh", action="store_true", help="rewrite the measured part of docs/performance.md")
    asked = parser.parse_args()
    tables = []
    for name in asked.model or ["smollm2-135m", "gemma-3-270m"]:
        rows = in_own_process(_measure, name, asked.texts, asked.length, asked.blocks, asked.precision)
        columns = ["texts", "precision", "seconds", "pass@10", "top-1 as output", "as the full lens on other texts"]
        shown = [
            [
                f"{row.texts}",
                row.precision,
                f"{row.seconds:.0f}",
                " and ".join(f"{share:.0%}" for share in row.pass_at_10),
                " and ".join(f"{share:.1%}" for share in row.top1),
                f"{row.agreement:.0%}",
            ]
            for row in rows
        ]
        title = f"{name}: two Jacobian lenses of the last {asked.blocks} blocks, on texts of {asked.length} tokens"
        tables.append(Table(title, columns, shown))
        Console().print(tables[-1].as_rich())
    if asked.refresh:
        measured = "\n\n".join([measured_on(describe()), *(t.as_markdown() for t in tables)])
        put("bench-jacobian-texts", f"\n{measured}\n")


@dataclasses.dataclass(frozen=True)
class _Fit:
    """A lens of one of the two sides, along the way."""

    texts: int
    precision: str
    seconds: float
    lens: FittedLens


def _measure(name: str, count: int, length: int, blocks: int, precision: str) -> list[Row]:
    model = load(name)
    tell(f"{name}: the model writes text")
    with model.computing() as loaded:
        written = write_documents(loaded, 2 * count + _HELD_OUT, length)
        ids = torch.tensor([(*beginning(loaded.tokenizer), *each) for each in written])
        layers = range(max(1, loaded.n_layers - blocks), loaded.n_layers)
        sides = [_fits(model, ids[side * count : (side + 1) * count], layers, side, precision) for side in (0, 1)]
        held_out, wholes = HeldOut(loaded, ids[-_HELD_OUT:]), [side[-1].lens for side in sides]

        def agreement(at: int) -> float:
            """Return how often lenses say what the whole lens of the other side says."""
            shares = [held_out.agreement(sides[side][at].lens, wholes[1 - side], list(layers)) for side in (0, 1)]
            return statistics.mean(statistics.median(each) for each in shares)

        agreements = [agreement(at) for at in range(len(sides[0]))]
    tell(f"{name}: reading prompts and text through {2 * len(sides[0])} lenses")
    evaluation = evaluate_lenses(model, [fit.lens for side in sides for fit in side], controls=False)
    rows = []
    for fits, agreed in zip(zip(*sides, strict=True), agreements, strict=True):
        read = [evaluation.lens(fit.lens.spec.name) for fit in fits]
        found = [evaluation.pass_at(lens) for lens in read]
        first, second = (each.value if each else float("nan") for each in found)
        top1 = [statistics.median(lens.held_out.top1_agreement[layers[0] :]) for lens in read]
        seconds = statistics.mean(fit.seconds for fit in fits)
        rows.append(Row(fits[0].texts, fits[0].precision, seconds, (first, second), (top1[0], top1[1]), agreed))
    return rows


def _fits(model: Model, ids: Int[Tensor, "text position"], layers: range, side: int, precision: str) -> list[_Fit]:
    """Return lenses of one side's texts: exact ones of the fewest, and of each share those in the precision asked."""
    exact = [] if precision == _EXACT else _along(model, ids, layers, side, _EXACT, _SHARES[:1])
    return [*exact, *_along(model, ids, layers, side, precision, _SHARES)]


def _along(
    model: Model,
    ids: Int[Tensor, "text position"],
    layers: range,
    side: int,
    precision: str,
    shares: Sequence[float],
) -> Iterator[_Fit]:
    """Fit a lens, and give what it is at each share of the texts."""
    sums = JacobianSums(model._loaded, layers, length=ids.shape[1], precision=precision)
    seconds, done = 0.0, 0
    for share in shares:
        wanted = max(1, round(share * len(ids)))
        for text in ids[done:wanted]:
            tell(f"{model.info.name}: lens {side + 1} of 2, {precision} precision, text {done + 1} of {len(ids)}")
            seconds += seconds_of(lambda text=text: sums.add(text[None]))
            done += 1
        label = f"{wanted}-{precision}-{side}"
        spec = dataclasses.replace(JACOBIAN, name=f"{JACOBIAN.name}:{label}", sum=label)
        yield _Fit(wanted, precision, seconds, FittedLens(spec, sums.translators()))


if __name__ == "__main__":
    main()
