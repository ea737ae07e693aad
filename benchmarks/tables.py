"""Results as tables, for a terminal and for a Markdown page."""

from collections.abc import Sequence
from dataclasses import dataclass

import rich.table
from rich import box

from benchmarks.compare import OURS, Timing
from benchmarks.limits import PLACES
from benchmarks.peers import PEERS, PROMPTS_OF_NNTERP
from benchmarks.results import Results
from benchmarks.settings import COMPARISONS, MEMORY, PROMPTS_RUN


@dataclass(frozen=True)
class Table:
    """Cells as text, ready to show. The first column is left-aligned, the others right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def as_rich(self) -> rich.table.Table:
        table = rich.table.Table(title=self.title, caption="\n".join(self.notes), box=box.SIMPLE)
        table.title_justify = table.caption_justify = "left"
        for i, column in enumerate(self.columns):
            table.add_column(column, justify="right" if i else "left")
        for row in self.rows:
            table.add_row(*row)
        return table

    def as_markdown(self) -> str:
        lines = [self.columns, ["---"] + ["---:"] * (len(self.columns) - 1), *self.rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return "\n\n".join([f"**{self.title}**", table, *self.notes])


def tables(results: Results) -> list[Table]:
    """Return a table for each thing that was measured, sizes apart."""
    models = list(dict.fromkeys(timing.model for timing in results.timings))
    return [
        *(_comparison(results, model) for model in models),
        *([_memory(results)] if results.peaks else []),
        *([_startup(results)] if results.startups else []),
    ]


def costs_table(results: Results) -> Table:
    """Return in numbers what the figures show."""
    rows = [[cost.axis, f"{cost.size:,}", _time(cost.seconds), _megabytes(cost.megabytes)] for cost in results.costs]
    return Table("Cost against size (random models)", ["what grows", "size", "time", "added memory"], rows)


def _comparison(results: Results, model: str) -> Table:
    """Return a row per contender and a column per setting."""
    found = {setting.title: results.compared(model, setting.name) for setting in COMPARISONS}
    compared = {title: timings for title, timings in found.items() if timings}
    columns = [_comparison_column(timings) for timings in compared.values()]
    names = [OURS, *PEERS, "forward alone", "product alone", "readout ÷ product"]
    rows = [[name, *cells] for name, *cells in zip(names, *columns, strict=True)]
    seen = [timing for timings in compared.values() for timing in timings.values()]
    reasons = dict.fromkeys(f"{timing.contender}: {timing.reason}" for timing in seen if timing.reason)
    notes = [f"– {'; '.join(reasons)}."] if reasons else []
    if any(timing.scale > 1 for timing in seen):
        part = f"the first {PROMPTS_RUN} prompts (nnterp: {PROMPTS_OF_NNTERP}), the product at {PLACES} places"
        notes.append(f"≈ measured in part and scaled: {part}.")
    return Table(model, ["", *compared], rows, notes)


def _comparison_column(timings: dict[str, Timing]) -> list[str]:
    ours, product = timings[OURS], timings["product"]
    others = [_times(timings[name], ours) for name in (*PEERS, "forward", "product")]
    return [_time(ours.median_seconds), *others, f"{timings['readout'].times(product):.2f}×"]


def _memory(results: Results) -> Table:
    models = list(dict.fromkeys(peak.model for peak in results.peaks))
    found = {(peak.setting, peak.model): peak.megabytes for peak in results.peaks}
    rows = [
        [setting.title, *(_megabytes(found[setting.name, model]) for model in models)]
        for setting in MEMORY
        if (setting.name, models[0]) in found
    ]
    return Table("Memory that a trace adds", ["what is read", *models], rows)


def _startup(results: Results) -> Table:
    rows = [[startup.what, _time(startup.seconds)] for startup in results.startups]
    return Table("Before anything is read", ["what", "time"], rows)


def _times(timing: Timing, ours: Timing) -> str:
    if timing.reason:
        return "–"
    ratio = timing.times(ours)
    return f"{'≈ ' * (timing.scale > 1)}{ratio:.{0 if ratio >= 10 else 1 if ratio >= 1 else 2}f}×"


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.{1 if seconds < 10 else 0}f} s"


def _megabytes(megabytes: float | None) -> str:
    return "not measured here" if megabytes is None else f"{megabytes:,.0f} MB"
