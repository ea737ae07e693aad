"""What a claim says before the data are seen, and whether the data bear it out."""

import math
from dataclasses import dataclass
from typing import Literal

from layerwise.errors import StudyError
from layerwise.measures.uncertainty import Estimate

Verdict = Literal["supported", "not supported", "inconclusive", "cannot be judged"]

_ROUNDING = 1e-9
"""Far below what any measure resolves: 0.8 − 1/30 and 23/30 are one depth."""


@dataclass(frozen=True)
class Region:
    """The values that a claim allows.

    A range includes its ends. A region with one end, the other being infinite, excludes it: *more than
    nothing* is not borne out by nothing.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (self.low <= self.high and self.low < math.inf and self.high > -math.inf):
            raise StudyError(
                f"Expected a region from a lower to a higher value; got {self.low:g} to {self.high:g}, "
                "in which no estimate can lie. Exchange or correct its ends."
            )

    @classmethod
    def parse(cls, text: str) -> "Region":
        """Return the region written as ``> 0.5``, ``< 1`` or ``0.80 .. 0.85``.

        Raises:
            StudyError: the text is none of these, or no value lies between its ends.
        """
        start, separator, end = text.partition("..")
        try:
            if separator:
                return cls(float(start), float(end))
            if text.lstrip().startswith(">"):
                return cls(float(text.lstrip()[1:]), math.inf)
            if text.lstrip().startswith("<"):
                return cls(-math.inf, float(text.lstrip()[1:]))
        except ValueError:
            pass
        raise StudyError(
            f"Expected a region such as '> 0.5', '< 1' or '0.80 .. 0.85'; got {text!r}. "
            "A claim is judged by it, so it is not guessed."
        )

    def widened(self, by: float) -> "Region":
        """Return the region with its finite ends moved outwards: depths by one layer, 1 / n."""
        return Region(self.low - by, self.high + by)


def verdict(estimate: Estimate | None, region: Region) -> Verdict:
    """Return what an estimate's interval says of a claim.

    ``supported``: every value of the interval (ends included) lies in the region. ``not supported``: none
    does. ``inconclusive``: some do. ``cannot be judged``: there is no estimate. So an interval that reaches
    a range's end from inside is supported, and one that touches it from outside inconclusive; for ``> 0``
    an interval from 0 upwards is inconclusive, and one up to 0 not supported. Bounds within 1e-9 of
    each other count as equal.
    """
    if estimate is None:
        return "cannot be judged"
    # To a range's ends belongs what rounding puts just outside; to a single end not what it puts just inside.
    slack = _ROUNDING if math.isfinite(region.low) and math.isfinite(region.high) else -_ROUNDING
    low, high = region.low - slack, region.high + slack
    if low <= estimate.low and estimate.high <= high:
        return "supported"
    if estimate.high < low or high < estimate.low:
        return "not supported"
    return "inconclusive"
