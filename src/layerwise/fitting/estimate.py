"""What a fit will cost, told before it begins."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes, from one measured batch."""

    seconds: float
    """Of what is left to do, if all text is used."""
    memory_bytes: int
    """Beside the model: sums of both halves, and the states of a batch."""
    disk_bytes: int
    """The lens, and while it is fitted what it can be gone on with from."""
    may_stop_early: bool = False

    def __str__(self) -> str:
        most = "at most about" if self.may_stop_early else "about"
        return (
            f"This takes {most} {duration(self.seconds)}, {size(self.memory_bytes)} of memory beside the model, and "
            f"{size(self.disk_bytes)} of disk."
        )


def duration(seconds: float) -> str:
    """Return a time in words, as exact as an estimate is."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size(n_bytes: float) -> str:
    """Return a number of bytes in words."""
    return f"{n_bytes / 1e6:,.0f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:,.1f} GB"
