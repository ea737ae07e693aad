"""What a comparison says: one finding per published figure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Literal

import pandas as pd

Verdict = Literal["reproduces", "differs", "known wrong", "not in this run"]


@dataclass(frozen=True)
class Finding:
    """One published figure beside the run's own."""

    figure: str
    """What was published, for instance ``p(␣Berlin) at layer 24``; layers are blocks done."""
    source: str
    """The file in ``data`` that holds it."""
    published: str | float
    ours: str | float | None
    """None where the run does not have it. Token texts are as the tokenizer has them, white space and all."""
    tolerance: str
    """The tightest tolerance within which the two agree, else the one they were held to; empty if neither."""
    verdict: Verdict
    note: str = ""


@dataclass(frozen=True)
class ModelComparison:
    """One model of a run beside what was published about it."""

    model: str
    """As the run calls it."""
    published_as: str | None
    """The name in the published tables; None if they don't have this model."""
    findings: tuple[Finding, ...] = ()
    note: str = ""
    """Why there are no findings, where there are none."""

    def count(self, verdict: Verdict) -> int:
        """Return how many findings have this verdict."""
        return Counter(finding.verdict for finding in self.findings)[verdict]


def to_frame(comparisons: Sequence[ModelComparison]) -> pd.DataFrame:
    """Return one row per finding: model, published_as, and the finding's fields.

    Models without findings have no row.
    """
    columns = ["model", "published_as", *(field.name for field in fields(Finding))]
    rows = [
        {"model": each.model, "published_as": each.published_as, **asdict(finding)}
        for each in comparisons
        for finding in each.findings
    ]
    return pd.DataFrame(rows, columns=columns)
