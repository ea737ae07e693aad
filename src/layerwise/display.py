"""How records show themselves where a room further on draws them.

A trace is made in a room that knows nothing of views, and yet a notebook shows it as one. So the package says by name
what shows which kind of record (`layerwise.__init__`), and the record asks here; nothing is imported before that.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import layerwise

MimeBundle = tuple[dict[str, Any], dict[str, Any]]
"""What a notebook shows, by MIME type, and metadata about it."""


class Display(Protocol):
    """A record, ready to be shown."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> MimeBundle:
        """Return what a notebook shows, by MIME type, and metadata about it."""
        ...

    def to_html(self, path: str | Path) -> None:
        """Write one HTML file that needs nothing else. Raises StoreError if it cannot be written."""
        ...


def display_of(record: object) -> Display:
    """Return how a record is shown, or one of a class made from it."""
    homes = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(record).__mro__)
    module, name = next(layerwise._DISPLAYS[home] for home in homes if home in layerwise._DISPLAYS).split(":")
    return getattr(import_module(module), name)(record)
