"""Tables of lenses for the terminal."""

import statistics
from typing import TYPE_CHECKING

from layerwise.cli.console import results_console
from layerwise.lens_spec import METHODS

if TYPE_CHECKING:
    from layerwise.evaluation.evaluated import Evaluation


def print_evaluation(evaluation: "Evaluation", k: int) -> None:
    """Print how lenses of a model do, a line each, and what the numbers do not show."""
    from rich import box
    from rich.table import Table

    from layerwise.report.lens_report import first_layer
    from layerwise.report.rendering import percent

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("lens")
    titles = (f"unspoken: pass@{k}", "control: another prompt", "readable from", "answers lead from", "KL to output")
    for title in titles:
        table.add_column(title, justify="right")
    for lens in evaluation.lenses:
        other = evaluation.pass_at(lens, k, control="another prompt") if lens.controls else None
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
        console.print(f"{method}: {METHODS[method].caveat}", markup=False, style="dim")
