"""Which cells a grid has: rows of blocks, columns of positions or heads, and what each cell puts where."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.cells import Cell
from layerwise.capture.edits import Edit
from layerwise.interventions import changes
from layerwise.sites import PER_HEAD, Site


@dataclass(frozen=True)
class GridPlan:
    """One kind of site, and where it is patched; the values come from whatever run is put into another."""

    kind: str
    sites: tuple[Site, ...]
    """Of the rows."""
    columns: tuple[int, ...]
    """Positions in the prompt that is patched; of kinds that have heads, the heads."""
    changed: tuple[tuple[int, int], ...]
    """Positions at which something can differ, each with the one in the source that stands for it."""
    window: int

    @staticmethod
    def of(
        kind: str,
        sites: Sequence[Site],
        values: Mapping[str, Tensor],
        pairs: Sequence[tuple[int, int]],
        shared: int,
        window: int = 1,
    ) -> "GridPlan":
        """Return the plan for a kind's sites.

        Args:
            kind: of site.
            sites: one for each block that has the kind.
            values: what a run has there: it tells how many heads there are.
            pairs: (patched, source), the positions that stand for each other.
            shared: before this position nothing differs, and there are no cells.
            window: how many consecutive blocks a cell changes, with the row's in the middle.
        """
        heads = range(values[str(sites[0])].shape[1]) if kind in PER_HEAD else None
        changed = tuple((mine, theirs) for mine, theirs in pairs if mine >= shared)
        return GridPlan(kind, tuple(sites), tuple(heads or (mine for mine, _ in pairs)), changed, window)

    @property
    def of_heads(self) -> bool:
        return self.kind in PER_HEAD

    @property
    def blocks(self) -> tuple[int, ...]:
        return tuple(site.block for site in self.sites)

    @property
    def places(self) -> list[tuple[int, int]]:
        """Row and column of each cell; those of the grid that are missing change nothing."""
        reached = {mine for mine, _ in self.changed}
        columns = [at for at, column in enumerate(self.columns) if self.of_heads or column in reached]
        return [(row, column) for row in range(len(self.sites)) for column in columns]

    def sample(
        self, approximate: Float[np.ndarray, "row column"], count: int, seed: int
    ) -> dict[tuple[int, int], float]:
        """Return so many places, or all if they are fewer, and how many each stands for.

        Half are those where most happens by an approximation; the rest is spread evenly over the rows, and otherwise
        drawn by chance.
        """
        by_size = sorted(self.places, key=lambda place: -abs(approximate[place]))
        if count >= len(by_size):
            return dict.fromkeys(by_size, 1.0)
        largest, others = by_size[: count // 2], by_size[count // 2 :]
        drawn: Counter[int] = Counter()
        order: list[tuple[int, tuple[int, int]]] = []
        for row, column in np.random.default_rng(seed).permutation(sorted(others)).tolist():
            order.append((drawn[row], (row, column)))
            drawn[row] += 1
        chosen = [place for _, place in sorted(order, key=lambda each: each[0])[: count - len(largest)]]
        return dict.fromkeys(largest, 1.0) | dict.fromkeys(chosen, len(others) / len(chosen))

    def cell(self, place: tuple[int, int], values: Mapping[str, Tensor]) -> Cell:
        """Return the cell at a row and column that puts a source's values there."""
        row, column = place[0], self.columns[place[1]]
        pairs = [pair for pair in self.changed if self.of_heads or pair[0] == column]
        mine, theirs = (list(each) for each in zip(*pairs, strict=True))
        # The window is cut off at the model's ends, and has blocks of the kind only.
        patched = self.sites[max(0, row - self.window // 2) : row + (self.window + 1) // 2]
        head = column if self.of_heads else None
        return Cell(tuple(_put(site, head, values, mine, theirs) for site in patched), min(mine))

    def filled(self, of_cells: Float[np.ndarray, " cell"], elsewhere: float) -> Float[np.ndarray, "row column"]:
        """Return a grid of the cells' values, in the order of `places`, with another value where there is no cell."""
        grid = np.full((len(self.sites), len(self.columns)), elsewhere, dtype=float)
        grid[tuple(np.array(self.places).T)] = of_cells
        return grid


def _put(site: Site, head: int | None, values: Mapping[str, Tensor], mine: list[int], theirs: list[int]) -> Edit:
    taken = values[str(site)][theirs]
    if head is None:
        return changes.put(site, taken, mine)
    return changes.put(replace(site, head=head), taken[:, head], mine)
