"""What an ablation holds: what becomes of an answer without each component, or each edge of attention."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from layerwise.causal.outcomes import OUTCOMES, Outcome
from layerwise.causal.spec_cells import Specs
from layerwise.causal.written import Written, plain, plain_outcome
from layerwise.errors import PromptError
from layerwise.text import one_line, visible
from layerwise.types import ModelInfo, Token

if TYPE_CHECKING:
    import pandas

    from layerwise import charts

FORMAT = "layerwise ablation 1"

POSITION, HEAD, EDGE = "position", "head", "edge"
"""What a grid's columns are."""

EDGES = "pattern"
"""The kind of site that edges of attention are cut in."""

LOGIT_DIFFERENCE, PROBABILITY = "logit_difference", "probability"
"""What the effect is a change of: in logits; or relative, −1 where nothing of the answer's probability is left."""

MEASURES = (
    *OUTCOMES,
    "kl_from_unedited_bits",
    "logit_difference_change",
    "logprob_change",
    "probability_change",
)
"""What is said of every cell: as it is, and how it changed from the unedited run. Logits only with another answer."""


@dataclass(frozen=True, eq=False)
class AblationGrid:
    """One kind of component, taken out place by place; or edges of attention, cut block by block.

    Arrays have NaN where a block lacks what is taken out elsewhere.
    """

    kind: str
    """Of site, as in `Site`; ``pattern``, where edges are cut."""
    column: str
    """What columns are: ``position``, ``head`` or ``edge``."""
    blocks: tuple[int, ...]
    """Of each row; with a window its middle."""
    columns: tuple[int, ...] | tuple[str, ...]
    window: int
    """How many consecutive blocks are changed at once."""
    values: dict[str, Float[np.ndarray, "row column"]]
    """By measure (`MEASURES`), what the edited run says; the mean over draws of a resampling."""
    change: Float[np.ndarray, "row column"]
    """Of the effect, from the unedited run to the edited one."""
    spread: Float[np.ndarray, "row column"] | None
    """Standard deviation of the change over draws, where something is drawn."""
    placebo: Float[np.ndarray, "row column"] | None
    """The change where as many other keys are cut, drawn at random; the mean over draws."""
    placebo_spread: Float[np.ndarray, "row column"] | None
    """Its standard deviation over draws; NaN where there is but one to draw."""
    edits: Mapping[tuple[int, int], Specs] = field(repr=False)
    """By row and column: what is changed, as a trace takes it; of several draws the first."""


@dataclass(frozen=True, eq=False)
class Ablation(Written):
    """Grids of one prompt: what `layerwise.ablate` returns."""

    model: ModelInfo
    effect: str
    """What changes are of: ``logit_difference``, in logits; without another answer ``probability``, relative to the
    unedited run."""
    prompt: tuple[Token, ...]
    answer: Token
    """Its deciding token; those before it are part of the prompt."""
    against: Token | None
    by: str
    """What takes a component's place: ``zero``, ``mean`` or ``resample``."""
    over: tuple[str, ...]
    """The prompts of a mean or resampling."""
    spans: dict[str, tuple[int, ...]]
    """Positions of each edge's keys and queries, by the names of their spans."""
    unedited: Outcome
    grids: tuple[AblationGrid, ...]
    draws: int
    seed: int
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    def grid(self, kind: str) -> AblationGrid:
        """Return the grid of a kind of site. Raises PromptError if there is none."""
        for grid in self.grids:
            if grid.kind == kind:
                return grid
        raise PromptError(f"{kind!r} was not taken out; there are {', '.join(grid.kind for grid in self.grids)}.")

    def titles(self, grid: AblationGrid) -> list[str]:
        """Return what a grid's columns are called: tokens, heads or edges."""
        if grid.column == POSITION:
            return [visible(self.prompt[int(at)].text) for at in grid.columns]
        return [f"h{at}" if grid.column == HEAD else one_line(str(at), 40) for at in grid.columns]

    def to_frame(self) -> "pandas.DataFrame":
        """Return a row per cell: kind, block, position, head or edge, token, the measures, the change of the effect."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for grid in self.grids:
            beside = {"spread": grid.spread, "placebo": grid.placebo, "placebo_spread": grid.placebo_spread}
            measured = {**grid.values, "change": grid.change, **{k: v for k, v in beside.items() if v is not None}}
            for row, column in grid.edits:
                at = grid.columns[column]
                token = {"token": self.prompt[int(at)].text} if grid.column == POSITION else {}
                cell = {name: float(values[row, column]) for name, values in measured.items()}
                rows.append({"kind": grid.kind, "block": grid.blocks[row], grid.column: at, **token, **cell})
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "format": FORMAT,
            "model": asdict(self.model),
            "effect": self.effect,
            "prompt": [asdict(token) for token in self.prompt],
            "answer": asdict(self.answer),
            "against": asdict(self.against) if self.against else None,
            "by": self.by,
            "over": list(self.over),
            "spans": {name: list(positions) for name, positions in self.spans.items()},
            "unedited": plain_outcome(self.unedited),
            "draws": self.draws,
            "seed": self.seed,
            "grids": [_grid_as_json(grid) for grid in self.grids],
            "notes": list(self.notes),
            "versions": self.versions,
        }

    def plot(self, kind: str | None = None) -> "charts.AnyChart":
        """Return a kind's changes, or without one the first's: a heatmap, or of edges a curve each beside its placebo.

        Raises:
            PromptError: there is no such kind.
        """
        grid = self.grid(kind) if kind else self.grids[0]
        return self._curves(grid) if grid.column == EDGE else self._heatmap(grid)

    def figures(self) -> "dict[str, charts.AnyChart]":
        """Return a figure of each kind."""
        return {grid.kind: self.plot(grid.kind) for grid in self.grids}

    @property
    def changed(self) -> str:
        """What the effect is a change of, in words."""
        against = f" − {visible(self.against.text)}" if self.against else ""
        return f"{self.effect.replace('_', ' ')} of {visible(self.answer.text)}{against}"

    def _heatmap(self, grid: AblationGrid) -> "charts.AnyChart":
        from layerwise import charts

        frame = self.to_frame().query("kind == @grid.kind")
        at = frame[grid.column].astype(int)
        titles = dict(zip(grid.columns, self.titles(grid), strict=True))
        named = [f"{place} {titles[place]}" if grid.column == POSITION else str(place) for place in at]
        return charts.heatmap(
            frame.assign(place=named, reached=True),
            x="place",
            y="block",
            value="change",
            x_title=grid.column,
            y_title="block",
            value_title=f"change of {self.changed}",
            title=f"{one_line(self.model.name, limit=40)}: {grid.kind}, by {self.by}",
            limit=1.0 if self.effect == PROBABILITY else float(np.nanmax(np.abs(grid.change), initial=0)) or 1.0,
        )

    def _curves(self, grid: AblationGrid) -> "charts.AnyChart":
        import pandas as pd

        from layerwise import charts

        rows: list[dict[str, Any]] = []
        for row, column in grid.edits:
            drawn = [("the edge", grid.change[row, column], 0.0, 1)]
            if grid.placebo is not None and grid.placebo_spread is not None:
                placebo, spread = grid.placebo[row, column], np.nan_to_num(grid.placebo_spread[row, column])
                drawn.append(("a placebo ± its spread", placebo, spread, self.draws))
            rows += [
                {"edge": grid.columns[column], "block": grid.blocks[row], "cut": cut, "n": n}
                | {"value": value, "low": value - spread, "high": value + spread}
                for cut, value, spread, n in drawn
                if np.isfinite(value)
            ]
        every = pd.DataFrame(rows)
        lowest, highest = min(each["low"] for each in rows), max(each["high"] for each in rows)
        return charts.bands(
            every,
            facet="edge",
            colour="cut",
            x="block",
            x_title=f"block ({grid.window} at a time)",
            y_title="change",
            title=f"{one_line(self.model.name, limit=40)}: {self.changed}, without an edge",
            y_domain=(min(lowest, 0.0), max(highest, 0.0)),
            size=(240, 160),
        )


def _grid_as_json(grid: AblationGrid) -> dict[str, Any]:
    beside = {"spread": grid.spread, "placebo": grid.placebo, "placebo_spread": grid.placebo_spread}
    return {
        "kind": grid.kind,
        "blocks": list(grid.blocks),
        f"{grid.column}s": list(grid.columns),
        "window": grid.window,
        "values": {name: plain(values) for name, values in grid.values.items()},
        "change": plain(grid.change),
        **{name: None if values is None else plain(values) for name, values in beside.items()},
    }
