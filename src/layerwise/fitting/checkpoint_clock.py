"""When a fit's next checkpoint is due."""

import time
from collections.abc import Callable

BETWEEN = 60
"""Seconds."""
_SHARE_OF_WRITING = 0.05
"""Of the time of a fit that may go into checkpoints: where they are large, they are further apart."""


class CheckpointClock:
    """Begins to count when it is made, and again after each checkpoint."""

    def __init__(self) -> None:
        self._last, self._wait = time.monotonic(), float(BETWEEN)

    def is_due(self) -> bool:
        return time.monotonic() - self._last >= self._wait

    def write(self, checkpoint: Callable[[], None]) -> None:
        """Write a checkpoint."""
        began = time.monotonic()
        checkpoint()
        self._last = time.monotonic()
        self._wait = max(BETWEEN, (self._last - began) / _SHARE_OF_WRITING)
