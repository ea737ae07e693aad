"""Cells whose edits are data: the same lines that a trace takes."""

from collections.abc import Sequence

from layerwise.capture.cells import Cell
from layerwise.interventions.changes import Change
from layerwise.interventions.specs import EditSpec
from layerwise.models.loading.loaded import LoadedModel
from layerwise.tracing.edits import OtherPrompts, plan_specs
from layerwise.tracing.request import Request
from layerwise.types import Progress

Specs = tuple[EditSpec, ...]
"""Edits that are made together: those of one cell."""


def cells_of(
    model: LoadedModel,
    request: Request,
    ids: tuple[int, ...],
    asked: Sequence[Specs],
    progress: Progress | None = None,
) -> list[Cell]:
    """Return a cell for each of some edits, made of what other prompts have.

    Args:
        model: the model to run.
        request: says how other prompts are made into tokens.
        ids: the text that is edited.
        asked: each cell's edits.
        progress: called with (what, done, total).

    Raises:
        PromptError, EditError, UnsupportedModelError: as `plan_specs`.
    """
    others = OtherPrompts(model)
    planned = [plan_specs(model, request, ids, specs, others) for specs in asked]
    others.run(progress)
    return [cell_of([make() for make in each]) for each in planned]


def cell_of(edits: Sequence[Change]) -> Cell:
    """Return edits as a cell, which begins at the first position that one of them changes."""
    return Cell(tuple(edits), min(min(edit.positions or (0,)) for edit in edits))
