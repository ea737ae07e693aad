"""What came of each case, as records and as a table."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from layerwise.files import write_text_whole


@dataclass
class Outcome:
    """One case, all that was asked of it."""

    name: str
    architecture: str
    settings: dict[str, Any]
    lost: dict[str, Any]
    """Settings that the file does not tell, with what llama.cpp takes in their place."""
    lost_error: float | None = None
    """How far the original is from the file's meaning by them, in log-probability."""
    outcome: str = ""
    """`right`, `refused` or `WRONG`."""
    error: float | None = None
    """The largest error of layerwise in log-probability, over all lengths, positions and tokens."""
    message: str = ""
    """Why it was refused."""
    converter: str = ""
    """`same` where our file has the converter's keys and tensors, else `DIFFERS`, or why the converter failed."""
    differences: list[str] = field(default_factory=list)
    llama_cpp: str = ""
    """Why llama.cpp did not read the file, where it did not."""
    llama_cpp_error: float | None = None
    """How far llama.cpp is from the file's meaning."""


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return the outcomes as a table."""
    shown = Table("case", "outcome", "largest error", "converter", "llama.cpp", "the file lost", box=None)
    for each in outcomes:
        lost = ", ".join(each.lost) and f"{', '.join(each.lost)} ({_number(each.lost_error)})"
        shown.add_row(
            each.name,
            each.outcome,
            each.message[:60] or _number(each.error),
            each.converter,
            each.llama_cpp[:40] or _number(each.llama_cpp_error),
            lost,
        )
    return shown


def write(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write the outcomes as JSON: by architecture which settings were tried and the largest error, then each case."""
    content = {"architectures": by_architecture(outcomes), "cases": [asdict(each) for each in outcomes]}
    write_text_whole(path, json.dumps(content, indent=1) + "\n")


def by_architecture(outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """Return for each architecture how its cases came out, the settings tried and the largest error of those read."""
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(each.architecture for each in outcomes):
        own = [each for each in outcomes if each.architecture == name]
        found[name] = {
            "settings": sorted({setting for each in own for setting in each.settings}),
            "lost": sorted({setting for each in own for setting in each.lost}),
            "outcomes": dict(Counter(each.outcome for each in own)),
            "largest_error": max((each.error for each in own if each.error is not None), default=None),
        }
    return found


def _number(error: float | None) -> str:
    return "" if error is None else f"{error:.1e}"
