"""Names as complaints list them: cut, not too many, and with what may have been meant."""

import difflib
from collections.abc import Collection, Iterable

from layerwise.text import one_line

MOST_NAMED = 10


def with_near_names(names: list[str], known: Collection[str]) -> str:
    """Return names in quotation marks, each with the known one that may have been meant."""
    shown = []
    for name in names[:MOST_NAMED]:
        near = difflib.get_close_matches(name.strip().lower()[:100], known, n=1, cutoff=0.7)
        shown.append(one_line(repr(name), 60) + (f" (did you mean {one_line(repr(near[0]), 60)}?)" if near else ""))
    more = len(names) - MOST_NAMED
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def listed_names(names: Iterable[str]) -> str:
    """Return names one after another, each on one line; empty ones are left out."""
    return ", ".join(one_line(name, 60) for name in names if name)
