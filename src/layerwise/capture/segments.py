"""What forward passes have in common, so that it runs once: segments, and the batches that they run in."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from layerwise.capture.edits import Edit
from layerwise.capture.forward_pass import ForwardPass, own_places


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens that one pass has, or that several share, after the same tokens."""

    ids: tuple[int, ...]
    start: int
    """How many tokens stand before."""
    parent: int | None
    """Index of the segment that it goes on from; None at the beginning."""
    kept: tuple[tuple[int, int], ...]
    """(index into `ids`, place on the captured axis) of each state that is kept."""
    whole: int | None = None
    """Index of the pass that this is all of, where that had to stay whole."""
    edits: tuple[Edit, ...] = ()
    """That pass's."""


def split_into_segments(
    passes: Sequence[ForwardPass],
    longest: int | None,
    least_saved: int,
    stays_whole: Callable[[int], bool] = lambda _: False,
    looked_at: list[list[tuple[int, int]]] | None = None,
) -> list[Segment]:
    """Return segments, parents first, in which shared beginnings stand once.

    Args:
        passes: what is to be run.
        longest: longer runs of tokens are cut into consecutive segments; with None they are not.
        least_saved: tokens that sharing has to save, since every segment is a step with a cost of its own.
        stays_whole: whether the pass at an index has to be one segment, and shares none.
        looked_at: per pass, the positions that are kept and their places; by default its own, one pass's after
            another's.
    """
    looked_at = own_places(passes) if looked_at is None else looked_at
    segments: list[Segment] = []

    def add(
        members: list[int],
        start: int,
        stop: int,
        parent: int | None,
        longest: int | None,
        whole: int | None = None,
    ) -> int | None:
        ids = passes[members[0]].ids
        for begin in range(start, stop, longest or max(1, stop - start)):
            end = min(begin + (longest or stop), stop)
            kept = [
                (position - begin, place)
                for index in members
                for position, place in looked_at[index]
                if begin <= position < end
            ]
            edits = () if whole is None else passes[whole].edits
            segments.append(Segment(ids[begin:end], begin, parent, tuple(kept), whole, edits))
            parent = len(segments) - 1
        return parent

    divided = []
    for index in range(len(passes)):
        if stays_whole(index):
            add([index], 0, len(passes[index].ids), None, None, whole=index)
        else:
            divided.append(index)
    open_ones: list[tuple[list[int], int, int | None]] = [(divided, 0, None)] if divided else []
    while open_ones:
        members, start, parent = open_ones.pop()
        if len(members) == 1:
            add(members, start, len(passes[members[0]].ids), parent, longest)
            continue
        stop = _common_length([passes[index].ids for index in members], start)
        if (len(members) - 1) * (stop - start) >= least_saved:
            parent, start = add(members, start, stop, parent, longest), stop
        by_next_token = defaultdict(list)
        for index in members:
            if len(passes[index].ids) > stop:
                by_next_token[passes[index].ids[stop]].append(index)
            else:
                add([index], start, stop, parent, longest)
        open_ones += [(some, start, parent) for some in by_next_token.values()]
    return segments


def into_batches(
    segments: list[Segment],
    largest: Callable[[Segment], int],
    wasted: int,
    kind: Callable[[Segment], int] = lambda _: 0,
) -> list[list[int]]:
    """Return batches of indices into `segments` that can run side by side; parents come in earlier batches.

    All of a batch begin at the same position and are of one kind. Those from which others go on are equally long; the
    others are to be filled up at the end, where no token before attends.

    Args:
        segments: what is to be run.
        largest: how many segments as long as this one a batch may hold.
        wasted: by how many tokens a batch may be filled up, in all.
        kind: what segments have in common that may run side by side.
    """
    parents = {segment.parent for segment in segments}
    alike: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for index, segment in enumerate(segments):
        alike[segment.start, len(segment.ids) if index in parents else 0, kind(segment)].append(index)
    batches = []
    for _, indices in sorted(alike.items()):
        batch: list[int] = []
        tokens = 0
        for index in sorted(indices, key=lambda index: len(segments[index].ids)):
            length = len(segments[index].ids)
            filled_up = (len(batch) + 1) * length - tokens - length
            if batch and (len(batch) == largest(segments[index]) or filled_up > wasted):
                batches.append(batch)
                batch, tokens = [], 0
            batch.append(index)
            tokens += length
        batches.append(batch)
    return batches


def _common_length(many: list[tuple[int, ...]], known: int) -> int:
    """Return how many tokens all begin with alike, at least as many as are known to be."""
    first, last = min(many), max(many)  # in dictionary order, all others lie between these
    length = known
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return length
