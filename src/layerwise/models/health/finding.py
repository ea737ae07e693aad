"""What a check says."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. Its texts are safe to print: whoever makes one sees to that."""

    topic: str
    """``machine``, ``devices``, ``versions``, ``hub``, ``caches``, ``models``, ``extras`` or ``self-test``."""
    subject: str
    state: State
    """``note``: good to know, and everything works; ``problem``: something that layerwise does will not work."""
    found: str
    advice: str = ""
    """What to do; never empty for a problem."""


@dataclass(frozen=True)
class Tried:
    """How the self-test's trace went."""

    identity_error: float
    identity_limit: float
    runs_as: str
    """Precision and device, for instance ``float32 on cpu``."""
    trace_seconds: float
    """Without loading."""
