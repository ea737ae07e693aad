"""A run's tables beside published figures: what reproduces, and which published figure is known to be wrong.

The comparison is made in `replication`; `published` holds the figures (see ``data/README.md`` for where they
come from and what is odd about them), `agreement` says what counts as the same, `measured` reads a run's
tables, `insights` has the published claims that did not hold.
"""

from layerwise.reference.findings import Finding, ModelComparison, Verdict, to_frame
from layerwise.reference.insights import Insight, published_insights
from layerwise.reference.published import published_models
from layerwise.reference.replication import compare

__all__ = [
    "Finding",
    "Insight",
    "ModelComparison",
    "Verdict",
    "compare",
    "published_insights",
    "published_models",
    "to_frame",
]
