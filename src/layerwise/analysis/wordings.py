"""What the wording of a question does: which is known best and worst, and what leads where the answer does not."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from layerwise.analysis.cases import Cases
from layerwise.analysis.set_summary import Cell


@dataclass(frozen=True)
class Spread:
    """Two wordings of one set and direction whose known shares have intervals that do not overlap."""

    best: Cell
    worst: Cell


def compared(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Return the wordings of each model, set and direction that has several."""
    grouped: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        grouped.setdefault((cell.model, cell.set, cell.direction), []).append(cell)
    return [wordings for wordings in grouped.values() if len(wordings) > 1]


def spreads(cells: Iterable[Cell]) -> list[Spread]:
    """Return best and worst wording wherever the one's interval lies wholly above the other's, widest apart first.

    Each interval is of one wording by itself. That two do not overlap is a rule for what is worth saying, and no
    test: paired tests of wordings are among `set_summary.comparisons`.
    """
    found = []
    for wordings in compared(cells):
        best, worst = (pick(wordings, key=_share) for pick in (max, min))
        if best.known and worst.known and worst.known.high < best.known.low:
            found.append(Spread(best, worst))
    return sorted(found, key=lambda each: _share(each.worst) - _share(each.best))


def _share(cell: Cell) -> float:
    return cell.known.value if cell.known else 0


@dataclass(frozen=True)
class Instead:
    """The token that most often leads at the output, after the prompt, where the answer is not known."""

    model: str
    set: str
    direction: str
    wording: str
    token: str
    count: int
    unknown: int
    """Questions whose answer is not known, whatever leads."""

    @property
    def prevails(self) -> bool:
        """Whether it leads in more than half of them."""
        return 2 * self.count > self.unknown


def leading_instead(cases: Cases) -> list[Instead]:
    """Return, per set, direction and wording, what leads most often where the answer is not known.

    A token with which an accepted form begins is none: the answer goes wrong later. Of equals, the first in the
    order of their characters.
    """
    unknown = cases.where(~cases.rows["known"].to_numpy(dtype=bool))
    found = []
    for (set_name, direction, wording), some in unknown.by("set", "direction", "wording"):
        others = some.rows["leads"][~some.rows["begins"].to_numpy(dtype=bool)]
        if counted := Counter(others):
            token, count = min(counted.items(), key=lambda each: (-each[1], each[0]))
            found.append(Instead(cases.model, set_name, direction, wording, token, count, len(some)))
    return found
