"""Traces and runs as they show themselves (`layerwise.display`): in a notebook, and as a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from layerwise.display import MimeBundle
from layerwise.errors import MissingDependencyError, PromptError
from layerwise.store.run import Run
from layerwise.tracing.trace import Trace
from layerwise.view.document import Json, view_document
from layerwise.view.page import write_page
from layerwise.view.still import still_html
from layerwise.view.widget import widget

if TYPE_CHECKING:
    from layerwise.causal.grid import Patching


@dataclass(frozen=True)
class Shown:
    """A view: a document, and the text that stands for it where there is nothing but text."""

    document: Json
    text: str

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> MimeBundle:
        """Return what a notebook shows by MIME type, and metadata: the view if anywidget is there, a table, text."""
        try:
            shown = widget(self.document)._repr_mimebundle_()
        except MissingDependencyError:
            shown = None
        data, metadata = shown or ({}, {})  # none too where anywidget finds no notebook
        return {**data, "text/html": still_html(self.document), "text/plain": self.text}, metadata

    def to_html(self, path: str | Path) -> None:
        """Write one HTML file that needs nothing else. Raises StoreError if it cannot be written."""
        write_page(self.document, path)


def show(*records: "Trace | Patching", title: str | None = None) -> Shown:
    """Return one view of several traces, to choose between and to set against each other; and of patch grids.

    Traces may differ in model, lens, prompt or anything else; the view aligns their tokens and layers. In a notebook
    the view draws itself, and `to_html` writes it as one file.

    Raises:
        PromptError: there is nothing, or something that is neither.
    """
    from layerwise.causal.grid import Patching  # late: a trace's page needs nothing of it
    from layerwise.view.patching_part import patching_part

    if other := [each for each in records if not isinstance(each, Trace | Patching)]:
        raise PromptError(f"What is shown are traces and patch grids; got {type(other[0]).__name__}.")
    if not records:
        raise PromptError("There is nothing to show: give one trace or more, as in show(first, second).")
    traces = [each for each in records if isinstance(each, Trace)]
    grids = [patching_part(each) for each in records if isinstance(each, Patching)]
    return Shown(view_document(traces, title=title, patchings=grids), "\n".join(map(repr, records)))


def shown_patching(patching: "Patching") -> Shown:
    """Return how patch grids are shown."""
    return show(patching)


def shown_trace(trace: Trace) -> Shown:
    """Return how a trace is shown."""
    return Shown(view_document([trace]), repr(trace))


def shown_run(run: Run) -> Shown:
    """Return how a stored run is shown."""
    from layerwise.view.study.study_part import (
        study_of,  # late: estimators and data frames, which a trace does not need
    )

    return Shown(view_document([], study=study_of(run)), repr(run))
