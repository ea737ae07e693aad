"""What to capture: token sequences, the positions whose states are kept, and what they have in common."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Sequence:
    """Token ids to run, and where to look."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    """Indices into `ids`, each ≥ 0, in the order in which states are wanted."""


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens that one sequence has, or that several share, behind the same tokens."""

    ids: tuple[int, ...]
    start: int
    """How many tokens stand before."""
    parent: int | None
    """Index of the segment that it goes on from; None at the beginning."""
    kept: tuple[tuple[int, int], ...]
    """(index into `ids`, place on the captured axis) of each state that is kept."""


def split_into_segments(
    sequences: list[Sequence],
    longest: int | None,
    least_saved: int,
    stays_whole: Callable[[Sequence], bool] = lambda _: False,
) -> list[Segment]:
    """Return segments, parents first, in which shared beginnings stand once.

    Args:
        sequences: what is to be run.
        longest: longer runs of tokens are cut into consecutive segments; with None they are not.
        least_saved: tokens that sharing has to save, since every segment is a step with a cost of its own.
        stays_whole: whether a sequence has to be one segment, and shares none.
    """
    first_places = list(accumulate((len(sequence.positions) for sequence in sequences), initial=0))
    segments: list[Segment] = []

    def add(members: list[int], start: int, stop: int, parent: int | None, longest: int | None) -> int | None:
        ids = sequences[members[0]].ids
        for begin in range(start, stop, longest or max(1, stop - start)):
            end = min(begin + (longest or stop), stop)
            kept = [
                (position - begin, first_places[index] + k)
                for index in members
                for k, position in enumerate(sequences[index].positions)
                if begin <= position < end
            ]
            segments.append(Segment(ids[begin:end], begin, parent, tuple(kept)))
            parent = len(segments) - 1
        return parent

    divided = []
    for index, sequence in enumerate(sequences):
        if stays_whole(sequence):
            add([index], 0, len(sequence.ids), None, None)
        else:
            divided.append(index)
    open_ones: list[tuple[list[int], int, int | None]] = [(divided, 0, None)] if divided else []
    while open_ones:
        members, start, parent = open_ones.pop()
        if len(members) == 1:
            add(members, start, len(sequences[members[0]].ids), parent, longest)
            continue
        stop = _common_length([sequences[index].ids for index in members])
        if (len(members) - 1) * (stop - start) >= least_saved:
            parent, start = add(members, start, stop, parent, longest), stop
        by_next_token = defaultdict(list)
        for index in members:
            if len(sequences[index].ids) > stop:
                by_next_token[sequences[index].ids[stop]].append(index)
            else:
                add([index], start, stop, parent, longest)
        open_ones += [(some, start, parent) for some in by_next_token.values()]
    return segments


def into_groups(
    segments: list[Segment],
    largest: Callable[[Segment], int],
    wasted: int,
    kind: Callable[[Segment], int] = lambda _: 0,
) -> list[list[int]]:
    """Return groups of indices into `segments` that can run side by side; parents come in earlier groups.

    All of a group begin at the same position and are of one kind. Those from which others go on are equally long; the
    others are to be filled up at the end, where no token before attends.

    Args:
        segments: what is to be run.
        largest: how many segments as long as this one a group may hold.
        wasted: by how many tokens a group may be filled up, in all.
        kind: what segments have in common that may run side by side.
    """
    parents = {segment.parent for segment in segments}
    alike: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for index, segment in enumerate(segments):
        alike[segment.start, len(segment.ids) if index in parents else 0, kind(segment)].append(index)
    groups = []
    for _, indices in sorted(alike.items()):
        group: list[int] = []
        tokens = 0
        for index in sorted(indices, key=lambda index: len(segments[index].ids)):
            length = len(segments[index].ids)
            filled_up = (len(group) + 1) * length - tokens - length
            if group and (len(group) == largest(segments[index]) or filled_up > wasted):
                groups.append(group)
                group, tokens = [], 0
            group.append(index)
            tokens += length
        groups.append(group)
    return groups


def _common_length(many: list[tuple[int, ...]]) -> int:
    """Return how many tokens all sequences begin with alike."""
    first, last = min(many), max(many)  # in dictionary order, all others lie between these
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return length
