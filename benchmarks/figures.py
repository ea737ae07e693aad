"""Cost against size, drawn."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from benchmarks.results import Results
from benchmarks.sizes import Cost

_COLOUR = "#0072B2"
_TITLES = {
    "layers": "layers",
    "vocabulary": "tokens in the vocabulary",
    "positions": "positions",
    "prompts": "prompts",
}


def draw_costs(results: Results, folder: Path) -> dict[str, Path]:
    """Write a figure for each thing that grows, and return where, by what grows."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for axis in dict.fromkeys(cost.axis for cost in results.costs):
        paths[_TITLES[axis]] = folder / f"cost-{axis}.svg"
        chart = _figure([cost for cost in results.costs if cost.axis == axis])
        chart.save(str(paths[_TITLES[axis]]))
    return paths


def _figure(costs: Sequence[Cost]) -> Any:
    """Return time and memory side by side."""
    frame = pd.DataFrame([asdict(cost) for cost in costs])
    title = _TITLES[costs[0].axis]
    panels = [
        _panel(frame, title, "seconds", "time in seconds"),
        _panel(frame, title, "megabytes", "added memory in MB"),
    ]
    both: Any = alt.hconcat(*panels).configure(font="DejaVu Sans, sans-serif", background="white", padding=12)
    return both.configure_view(stroke=None)  # altair's own annotations widen the type at every step


def _panel(frame: pd.DataFrame, x_title: str, y: str, y_title: str) -> alt.Chart:
    return (
        alt.Chart(frame)
        .mark_line(color=_COLOUR, point={"color": _COLOUR, "size": 30})
        .encode(
            x=alt.X("size:Q", title=x_title, axis=alt.Axis(values=frame["size"].tolist(), labelOverlap=True)),
            y=alt.Y(f"{y}:Q", title=y_title, scale=alt.Scale(zero=True)),
        )
        .properties(width=300, height=200)
    )
