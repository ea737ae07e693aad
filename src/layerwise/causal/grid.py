"""What a patch grid holds: an effect for every cell, beside the runs that it lies between."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from layerwise.causal.alignment import Alignment, as_json
from layerwise.causal.approximation import Approximation
from layerwise.causal.outcomes import Outcome
from layerwise.causal.written import Written, plain, plain_outcome
from layerwise.display import MimeBundle, display_of
from layerwise.errors import EditError, PromptError
from layerwise.text import one_line, visible
from layerwise.types import ModelInfo, Token

if TYPE_CHECKING:
    import pandas

    from layerwise import charts

FORMAT = "layerwise patching 1"


@dataclass(frozen=True)
class SubjectNoise:
    """Corruption of a subject by noise on its embeddings (Meng et al. 2022, arXiv:2202.05262).

    Raises:
        EditError: there is no deviation, or no draw.
    """

    subject: str
    """What the noise is put on, as it stands in the prompt."""
    deviations: float = 3.0
    """Its standard deviation, in those of the numbers of embeddings over the vocabulary."""
    draws: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.deviations < np.inf or self.draws < 1:
            raise EditError(
                f"Noise has a deviation above 0 and at least one draw; got {self.deviations:g} and {self.draws}."
            )


@dataclass(frozen=True, eq=False)
class PatchGrid:
    """One kind of site, patched in one place after another."""

    kind: str
    """Of site, as in `Site`; ``resid_pre`` is the stream at a layer."""
    blocks: tuple[int, ...]
    """Of each row; with a window its middle."""
    columns: tuple[int, ...]
    """Positions in the prompt that is patched; of kinds that have heads, the heads."""
    of_heads: bool
    values: dict[str, Float[np.ndarray, "row column"]]
    """By measure (`outcomes.MEASURES`, or the effect alone) what the patched run says; the mean over draws of noise."""
    recovery: Float[np.ndarray, "row column"]
    """How far the patch moves the effect from the unpatched run (0) to the source (1)."""
    spread: Float[np.ndarray, "row column"] | None = None
    """Standard deviation of the recovery over draws of noise."""
    placebo: Float[np.ndarray, "row column"] | None = None
    """The recovery under the placebo, where that was run too."""
    approximation: Approximation | None = None
    """How far the grid is off, where it is approximate (attribution patching); None for one that was run."""


@dataclass(frozen=True, eq=False, repr=False)
class Patching(Written):
    """Grids of one pair of prompts: what `layerwise.patch` returns."""

    model: ModelInfo
    direction: str
    """``denoise``: the clean run's values put into the corrupted one; ``noise``: the other way round."""
    effect: str
    """The measure that recovery is of: ``logit_difference``, or without another answer ``answer_logprob``."""
    clean: tuple[Token, ...]
    corrupted: tuple[Token, ...]
    alignment: Alignment
    answer: Token
    """Its deciding token; those before it are part of both prompts."""
    against: Token | None
    unpatched: Outcome
    source: Outcome
    grids: tuple[PatchGrid, ...]
    window: int
    noise: SubjectNoise | None
    versions: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def patched(self) -> tuple[Token, ...]:
        """The prompt that values are put into."""
        return self.corrupted if self.direction == "denoise" else self.clean

    @property
    def differing(self) -> frozenset[int]:
        """Positions of the patched prompt at which something can be patched: those before are the same in both."""
        side = 1 if self.direction == "denoise" else 0
        return frozenset(pair[side] for pair in self.alignment.pairs if pair[side] >= self.alignment.shared)

    def grid(self, kind: str) -> PatchGrid:
        """Return the grid of a kind of site. Raises PromptError if there is none."""
        for grid in self.grids:
            if grid.kind == kind:
                return grid
        raise PromptError(f"{kind!r} was not patched; there are {', '.join(grid.kind for grid in self.grids)}.")

    def to_frame(self) -> "pandas.DataFrame":
        """Return a row per cell: kind, block, position or head, token, the measures, recovery.

        Where grids are approximate: ``approximate``, ``exact_recovery`` of cells that were run, and the kind's figures.
        """
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for grid in self.grids:
            for (row, column), recovery in np.ndenumerate(grid.recovery):
                place = {"head": grid.columns[column]} if grid.of_heads else {"position": grid.columns[column]}
                token = {} if grid.of_heads else {"token": self.patched[grid.columns[column]].text}
                measured = {name: float(values[row, column]) for name, values in grid.values.items()}
                placebo = {} if grid.placebo is None else {"placebo": float(grid.placebo[row, column])}
                cell = {**measured, "recovery": recovery, **placebo, **_approximate(grid, (row, column))}
                rows.append({"kind": grid.kind, "block": grid.blocks[row], **place, **token, **cell})
        return pd.DataFrame(rows)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "format": FORMAT,
            "model": asdict(self.model),
            "direction": self.direction,
            "effect": self.effect,
            "clean": [asdict(token) for token in self.clean],
            "corrupted": [asdict(token) for token in self.corrupted],
            "alignment": as_json(self.alignment),
            "answer": asdict(self.answer),
            "against": asdict(self.against) if self.against else None,
            "unpatched": plain_outcome(self.unpatched),
            "source": plain_outcome(self.source),
            "window": self.window,
            "noise": asdict(self.noise) if self.noise else None,
            "grids": [
                {
                    "kind": grid.kind,
                    "blocks": list(grid.blocks),
                    "heads" if grid.of_heads else "positions": list(grid.columns),
                    "values": {name: plain(values) for name, values in grid.values.items()},
                    "recovery": plain(grid.recovery),
                    "spread": None if grid.spread is None else plain(grid.spread),
                    "placebo": None if grid.placebo is None else plain(grid.placebo),
                    "approximation": grid.approximation and grid.approximation.to_json(),
                }
                for grid in self.grids
            ],
            "notes": list(self.notes),
            "versions": self.versions,
        }

    def plot(self, kind: str | None = None) -> "charts.AnyChart":
        """Return a heatmap of a kind's recovery; of the first kind without one. Raises PromptError if there is none."""
        from layerwise import charts

        grid = self.grid(kind) if kind else self.grids[0]
        frame = self.to_frame().query("kind == @grid.kind")
        if grid.of_heads:
            frame = frame.assign(place=frame["head"].astype(int).astype(str), reached=True)
        else:
            at = frame["position"].astype(int)
            frame = frame.assign(
                place=[f"{position} {visible(self.patched[position].text)}" for position in at],
                reached=at.isin([*self.differing]),
            )
        against = f" − {visible(self.against.text)}" if self.against else ""
        return charts.heatmap(
            frame,
            x="place",
            y="block",
            value="recovery",
            x_title="head" if grid.of_heads else "position",
            y_title="block",
            value_title=f"recovery of {visible(self.answer.text)}{against}",
            title=f"{one_line(self.model.name, limit=40)}: {grid.kind}, {self.direction}"
            + (", approximate" if grid.approximation else ""),
            subtitle=grid.approximation.lines if grid.approximation else (),
        )

    def figures(self) -> "dict[str, charts.AnyChart]":
        """Return a heatmap of each kind."""
        return {grid.kind: self.plot(grid.kind) for grid in self.grids}

    def to_html(self, path: str | Path) -> None:
        """Write these grids' view as one HTML file that needs nothing else. Raises StoreError if that fails."""
        display_of(self).to_html(path)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> MimeBundle:
        return display_of(self)._repr_mimebundle_()

    def __repr__(self) -> str:
        kinds = ", ".join(grid.kind for grid in self.grids)
        return f"Patching({self.model.name!r}, {self.direction}, {kinds}, answer={self.answer.text!r})"


def _approximate(grid: PatchGrid, place: tuple[int, int]) -> dict[str, Any]:
    """Return what a frame says of a cell that is approximate."""
    if (found := grid.approximation) is None:
        return {}
    exact = dict(zip(found.cells, found.exact.tolist(), strict=True))
    return {"approximate": True, "exact_recovery": exact.get(place, np.nan), **found.figures}
