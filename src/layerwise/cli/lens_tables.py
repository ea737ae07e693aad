"""Tables of lenses for the terminal."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from layerwise.cli.console import results_console
from layerwise.lens_spec import caveat_of
from layerwise.text import one_line, visible

if TYPE_CHECKING:
    from layerwise.evaluation.evaluated import Evaluation
    from layerwise.lenses.fitted import FittedLens
    from layerwise.tracing.trace import Trace


def print_card(lens: "FittedLens", out: Path, own: bool = False) -> None:
    """Print how a lens does on held-out text, at a few layers, and how to read through it: its `own` by kind alone."""
    from rich import box
    from rich.table import Table

    card = lens.card
    assert card is not None
    figures, n = card.held_out, len(card.layers)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("layer", "KL to output (bits)", "logit lens", "top-1 as output", "logit lens", "halves agree"):
        table.add_column(title, justify="right")
    halves = figures.get("halves", {}).get("top1_agreement") or [None] * n
    for index in sorted({round(step * (n - 1) / 7) for step in range(8)}):
        table.add_row(
            str(card.layers[index]),
            f"{figures['kl_bits'][index]:.2f}",
            f"{figures['logit_kl_bits'][index]:.2f}",
            f"{figures['top1_agreement'][index]:.0%}",
            f"{figures['logit_top1_agreement'][index]:.0%}",
            "" if halves[index] is None else f"{halves[index]:.0%}",
        )
    console = results_console()
    console.print(f"{card.method} lens of {card.model}, fitted on {card.text['tokens']:,} tokens", style="bold")
    console.print(table)
    console.print(caveat_of(card.method), style="dim", markup=False)
    asked = card.method if own else f"{card.method}:{out}"
    print(f"At {figures['positions']} held-out positions. The lens and its card are in {out}. Read through it:")
    print(f'layerwise trace "The capital of Germany is" --model {card.model} --lens logit --lens {asked}')


def print_evaluation(evaluation: "Evaluation", k: int) -> None:
    """Print how lenses of a model do, a line each, and what the numbers do not show."""
    from rich import box
    from rich.table import Table

    from layerwise.evaluation.evaluated import OTHER
    from layerwise.report.lens_report import first_layer
    from layerwise.report.rendering import percent

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("lens")
    titles = (f"unspoken: pass@{k}", f"control: {OTHER}", "readable from", "answers lead from", "KL to output")
    for title in titles:
        table.add_column(title, justify="right")
    for lens in evaluation.lenses:
        other = evaluation.pass_at(lens, k, control=OTHER) if lens.controls else None
        table.add_row(
            lens.name,
            percent(evaluation.pass_at(lens, k)),
            percent(other),
            first_layer(evaluation.first_readable(lens, k), evaluation.n_layers),
            first_layer(evaluation.first_answer(lens), evaluation.n_layers),
            f"{statistics.median(lens.held_out.kl_bits):.2f}",
        )
    console = results_console()
    counted = int(evaluation.counted.sum())
    console.print(
        f"{evaluation.model}: {counted} intermediates that it knows, {len(evaluation.lenses[0].answers)} answers, "
        f"{evaluation.lenses[0].held_out.positions} positions of text; {evaluation.n_layers} layers",
        style="bold",
        markup=False,
    )
    console.print(table)
    for method in dict.fromkeys(lens.method for lens in evaluation.lenses if lens.method):
        console.print(caveat_of(method), markup=False, style="dim")


def print_leading(traces: "Sequence[Trace]") -> None:
    """Print where the output's likeliest token leads through each lens of one prompt, where there are several."""
    from rich import box
    from rich.table import Table

    if len(traces) < 2:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("lens")
    for title in ("leads first at layer", "at every layer from"):
        table.add_column(title, justify="right")
    for trace in traces:
        first, settled = leading_layers(trace)
        table.add_row(one_line(trace.lens), *("never" if each is None else str(each) for each in (first, settled)))
    console = results_console()
    console.print()
    console.print(
        f"Where {visible(traces[0].output[0].text)} leads, the output's likeliest token",
        style="bold",
        markup=False,
    )
    console.print(table)


def leading_layers(trace: "Trace") -> tuple[int | None, int | None]:
    """Return the first layer at which the output's likeliest token leads, and the one from which on it does."""
    leads = (trace.top_ids[:, trace.last, 0] == trace.output[0].id).tolist()
    settled = len(leads) - next((at for at, does in enumerate(reversed(leads)) if not does), len(leads))
    return (leads.index(True) if True in leads else None, settled if settled < len(leads) else None)
