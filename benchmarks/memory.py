"""By how much a trace raises the memory of a process that has its model loaded and warm (Linux)."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.questions import ONE
from benchmarks.settings import Setting, Work

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Peak:
    """Memory that a trace added at its peak."""

    model: str
    setting: str
    megabytes: float | None
    """None where the system doesn't say."""


def peak_of_trace(model: str, setting: Setting) -> Peak:
    """Return what a trace adds. To be run in a process of its own."""
    from benchmarks import inside
    from benchmarks.contenders import Layerwise, Models

    models = Models(model, setting.dtype)
    ours = Layerwise(models)
    ours.on(Work([ONE], "last")).run()
    task = ours.on(setting.work(inside.hf_tokenizer(models.shared)))
    return Peak(model, setting.name, added_peak(task.run))


def added_peak(run: Callable[[], object]) -> float | None:
    """Return by how many MB `run` raises this process's anonymous memory at its peak.

    Anonymous memory leaves out the pages of mapped weight files, which the system drops and
    fetches as it likes.
    """
    before = _anonymous_mb()
    if before is None:
        return None
    with _Watch() as watch:
        run()
    return watch.peak - before


class _Watch(threading.Thread):
    """Notes the largest anonymous memory of this process while a block runs."""

    def __init__(self):
        super().__init__(daemon=True)
        self.peak, self._stop_now = 0.0, threading.Event()

    def run(self) -> None:
        while not self._stop_now.wait(0.005):
            self.peak = max(self.peak, _anonymous_mb() or 0)

    def __enter__(self) -> "_Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_now.set()
        self.join()


def _anonymous_mb() -> float | None:
    if not _STATUS.exists():
        return None
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024
