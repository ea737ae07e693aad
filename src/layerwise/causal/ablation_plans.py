"""Which edits take components out, and cut edges, in each cell of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.site_values import capture_sites, resolve_sites
from layerwise.causal.ablated import EDGE, EDGES, HEAD, POSITION
from layerwise.causal.edges import Edge, placebos
from layerwise.causal.spec_cells import Specs
from layerwise.interventions.specs import Cut, Mean, Resample, Zero
from layerwise.models.loading.loaded import LoadedModel
from layerwise.sites import PER_HEAD, Site

PlannedCells = dict[tuple[int, int], Specs]
"""By row and column; those that are missing are not there in the model, or the prompt."""


@dataclass(frozen=True)
class Plan:
    """What the cells of one grid change."""

    kind: str
    column: str
    blocks: tuple[int, ...]
    columns: tuple[int, ...] | tuple[str, ...]
    window: int
    draws: list[PlannedCells]
    """One, where nothing is drawn."""
    placebos: list[PlannedCells] = field(default_factory=list)


def _around(sites: Sequence[Site], row: int, window: int) -> Sequence[Site]:
    """Return the sites of a window, cut off at the model's ends."""
    return sites[max(0, row - window // 2) : row + (window + 1) // 2]


def plan_components(
    model: LoadedModel,
    kind: str,
    ids: tuple[int, ...],
    by: str,
    over: tuple[str, ...],
    window: int,
    draws: int,
    seed: int,
) -> Plan:
    """Return the cells that take out one kind of site: of rows of blocks, and of columns of positions or heads."""
    sites = resolve_sites(model, kind)
    heads = _heads(model, ids, sites) if kind in PER_HEAD else {}
    columns = tuple(range(max(heads.values()) if heads else len(ids)))

    def spec(site: Site, column: int, draw: int) -> Zero | Mean | Resample:
        name, at = (f"{site}[{column}]", "all") if heads else (str(site), str(column))
        if by == "zero":
            return Zero(name, at)
        return Mean(name, at, over=over) if by == "mean" else Resample(name, at, over=over, seed=seed + draw)

    def cells(draw: int) -> PlannedCells:
        found: PlannedCells = {}
        for row in range(len(sites)):
            for column in columns:
                there = [site for site in _around(sites, row, window) if column < heads.get(site, len(columns))]
                if sites[row] in there:
                    found[row, column] = tuple(spec(site, column, draw) for site in there)
        return found

    drawn = [cells(draw) for draw in range(draws if by == "resample" else 1)]
    return Plan(kind, HEAD if heads else POSITION, tuple(site.block for site in sites), columns, window, drawn)


def _heads(model: LoadedModel, ids: tuple[int, ...], sites: Sequence[Site]) -> dict[Site, int]:
    """Return how many heads each site has: blocks may differ in it."""
    [found] = capture_sites(model, [ForwardPass(ids[:1], (0,))], sites)
    return {site: found[str(site)].shape[1] for site in sites}


def plan_edges(model: LoadedModel, edges: Sequence[Edge], window: int, draws: int, seed: int) -> Plan:
    """Return the cells that cut edges, and those that cut as many others."""
    sites = resolve_sites(model, EDGES)
    drawn = [placebos(edge, draws, seed) for edge in edges]

    def cells(keys_of: Sequence[tuple[int, ...] | None]) -> PlannedCells:
        """Return cells in which each edge's queries do not see some keys, where it has any."""
        return {
            (row, column): tuple(
                Cut(str(site), _written(edges[column].queries), keys=_written(keys))
                for site in _around(sites, row, window)
            )
            for row in range(len(sites))
            for column, keys in enumerate(keys_of)
            if keys is not None
        }

    other = [cells([each[draw] if draw < len(each) else None for each in drawn]) for draw in range(draws)]
    blocks, columns = tuple(site.block for site in sites), tuple(map(str, edges))
    return Plan(EDGES, EDGE, blocks, columns, window, [cells([edge.keys for edge in edges])], other)


def _written(positions: Sequence[int]) -> str:
    return ",".join(map(str, positions))
