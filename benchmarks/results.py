"""Everything that one run of the benchmark found."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare import OURS, Timing
from benchmarks.memory import Peak
from benchmarks.sizes import Cost
from benchmarks.startup import Startup


@dataclass(frozen=True)
class Results:
    """What was measured; empty where it was not asked for."""

    machine: dict[str, Any]
    timings: Sequence[Timing]
    peaks: Sequence[Peak]
    costs: Sequence[Cost]
    startups: Sequence[Startup]

    def compared(self, model: str, setting: str) -> dict[str, Timing]:
        """Return each contender's times; empty if this was not measured."""
        return {t.contender: t for t in self.timings if (t.model, t.setting) == (model, setting)}

    def write(self, path: Path) -> None:
        """Write everything as JSON, with medians and ratios beside the single times."""
        timings = [self._with_median(timing) for timing in self.timings]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self) | {"timings": timings}, indent=2) + "\n")

    def _with_median(self, timing: Timing) -> dict[str, Any]:
        if timing.reason:
            return asdict(timing)
        ours = self.compared(timing.model, timing.setting)[OURS]
        return asdict(timing) | {"median_seconds": timing.median_seconds, "times_ours": timing.times(ours)}
