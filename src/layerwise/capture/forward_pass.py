"""Forward passes: a model run on token ids, with edits on the way up if any, and the positions that are looked at."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from layerwise.capture.edits import Edit


@dataclass(frozen=True)
class ForwardPass:
    """Token ids to run through the model, with edits if any, and where to look."""

    ids: tuple[int, ...]
    positions: tuple[int, ...] = ()
    """Indices into `ids`, each ≥ 0, in the order in which values are wanted."""
    edits: tuple[Edit, ...] = ()
    branch_of: "ForwardPass | None" = None
    """A pass over the same ids that is this one up to its first edit: only from there on is it computed."""

    def __post_init__(self) -> None:
        parent = self.branch_of
        if parent is not None and (not self.edits or parent.branch_of is not None or parent.ids != self.ids):
            raise ValueError("A branch has edits, and goes over the ids of a pass that is no branch itself.")

    @property
    def key(self) -> tuple[Hashable, ...]:
        """All that determines what is computed: two passes with one key have the same values at every position."""
        return (self.ids, self.edits, self.branch_of.key if self.branch_of else None)


def own_places(passes: Sequence[ForwardPass]) -> list[list[tuple[int, int]]]:
    """Return, per pass, the positions that are looked at and their places: one pass's after another's."""
    first = accumulate((len(each.positions) for each in passes), initial=0)
    return [
        [(position, start + k) for k, position in enumerate(each.positions)]
        for each, start in zip(passes, first, strict=False)
    ]
