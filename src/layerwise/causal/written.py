"""Writing what was found: as JSON, and as figures."""

import json
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from layerwise.causal.outcomes import Outcome
from layerwise.errors import StoreError
from layerwise.files import write_text_whole
from layerwise.text import harmless

if TYPE_CHECKING:
    from layerwise import charts


class Written(ABC):
    """Something found that can be written."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""

    @abstractmethod
    def figures(self) -> "dict[str, charts.AnyChart]":
        """Return every figure, by the name of its file."""

    def dumps(self) -> str:
        """Return everything as JSON text."""
        return json.dumps(self.to_json(), allow_nan=False)

    def save(self, path: str | Path) -> None:
        """Write everything as JSON, whole or not at all. Raises StoreError."""
        try:
            write_text_whole(Path(path), self.dumps())
        except OSError as error:
            raise StoreError(
                f"The numbers could not be written to {harmless(str(path))}: {error.strerror or error}."
            ) from error

    def write_figures(self, folder: str | Path) -> None:
        """Write every figure as PNG and SVG. Raises StoreError."""
        from layerwise import charts

        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for name, chart in self.figures().items():
                charts.write_png_and_svg(chart, Path(folder) / name)
        except OSError as error:
            raise StoreError(
                f"The figures could not be written to {harmless(str(folder))}: {error.strerror or error}."
            ) from error


def plain(values: np.ndarray) -> list[list[float | None]]:
    """Return a table of numbers as JSON has them: none where there is none."""
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


def plain_outcome(outcome: Outcome) -> dict[str, Any]:
    """Return what a run says as JSON has it."""
    return {
        name: None if isinstance(value, float) and np.isnan(value) else value for name, value in asdict(outcome).items()
    }
