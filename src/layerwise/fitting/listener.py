"""Who is told of a fit on its way."""

from collections.abc import Callable
from dataclasses import dataclass

from layerwise.fitting.estimate import Estimate
from layerwise.types import Progress


@dataclass(frozen=True)
class Listener:
    """Who is told of a fit on its way."""

    progress: Progress | None = None
    on_estimate: Callable[[Estimate], None] | None = None
    """Told once what it will cost, from one measured batch."""
    on_note: Callable[[str], None] = lambda note: None
    """Told what users should know of the text, and of a fit that is gone on with."""
