"""What a user waits for before anything is read."""

import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clock import seconds_of


@dataclass(frozen=True)
class Startup:
    """Seconds of one thing that happens first."""

    what: str
    seconds: float


def time_help(rounds: int = 5) -> Startup:
    """Return the median time of `layerwise --help` as a command of its own, its first run left out."""
    command = [str(Path(sys.executable).parent / "layerwise"), "--help"]
    times = [seconds_of(lambda: subprocess.run(command, capture_output=True, check=True)) for _ in range(1 + rounds)]
    return Startup("layerwise --help", statistics.median(times[1:]))


def time_load(model: str) -> Startup:
    """Return how long the second load takes: imports are done, and the weights are in the disk's cache."""
    import layerwise as lw

    lw.load(model)
    return Startup(f"lw.load({model!r})", seconds_of(lambda: lw.load(model)))
