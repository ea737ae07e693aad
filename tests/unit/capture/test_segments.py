import inspect
import sys

from hypothesis import given
from hypothesis import strategies as st

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.segments import Segment, into_batches, split_into_segments

HEADER = tuple(range(100, 140))


def sequences(*many):
    return [ForwardPass(tuple(ids), (len(ids) - 1,)) for ids in many]


def path(segments: list[Segment], index: int | None) -> tuple[int, ...]:
    """The tokens from the first to the end of a segment."""
    if index is None:
        return ()
    return path(segments, segments[index].parent) + segments[index].ids


few_tokens = st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple)


@st.composite
def any_sequences(draw):
    """Ids and positions of sequences that often begin alike, contain one another, or are equal.

    They are made sequences within the tests: the type checker there draws random numbers, which
    Hypothesis forbids in here.
    """
    many = []
    for ids in draw(st.lists(few_tokens, min_size=1, max_size=12)):
        positions = draw(st.lists(st.integers(0, len(ids) - 1), min_size=1, max_size=4))
        many.append((ids, tuple(dict.fromkeys(positions))))
    return many


@given(any_sequences(), st.one_of(st.none(), st.integers(1, 5)), st.integers(1, 20), st.integers(0, 9))
def test_every_kept_state_stands_behind_its_own_tokens(many, longest, least_saved, divided_up_to):
    many = [ForwardPass(*each) for each in many]
    segments = split_into_segments(many, longest, least_saved, lambda index: len(many[index].ids) > divided_up_to)
    assert all(len(segment.ids) <= (longest or 8) or len(segment.ids) > divided_up_to for segment in segments)
    read = {}
    for index, segment in enumerate(segments):
        assert segment.ids, "no empty steps"
        before = path(segments, segment.parent)
        assert segment.start == len(before)
        assert segment.parent is None or segment.parent < index
        for position, place in segment.kept:
            assert place not in read, "each place is written once"
            read[place] = before + segment.ids[: position + 1]
    wanted = [sequence.ids[: position + 1] for sequence in many for position in sequence.positions]
    assert [read[place] for place in range(len(wanted))] == wanted


@given(any_sequences(), st.integers(1, 20))
def test_sharing_never_costs_tokens_and_saves_what_it_must(many, least_saved):
    many = [ForwardPass(*each) for each in many]
    segments = split_into_segments(many, None, least_saved)
    alone = sum(len(sequence.ids) for sequence in many)
    shared = sum(len(segment.ids) for segment in segments)
    with_children = {segment.parent for segment in segments if segment.parent is not None}
    assert alone - shared >= least_saved * len(with_children)


@given(any_sequences(), st.integers(1, 20), st.integers(1, 5), st.integers(0, 6))
def test_every_segment_is_in_one_batch_after_its_parents(many, least_saved, size, wasted):
    segments = split_into_segments([ForwardPass(*each) for each in many], None, least_saved)
    batches = into_batches(segments, lambda _: size, wasted, lambda segment: len(segment.ids) > 4)
    parents = {segment.parent for segment in segments}
    assert sorted(index for batch in batches for index in batch) == list(range(len(segments)))
    batch_of = {index: at for at, batch in enumerate(batches) for index in batch}
    for batch in batches:
        assert len(batch) <= size
        assert len({segments[index].start for index in batch}) == 1
        assert len({len(segments[index].ids) > 4 for index in batch}) == 1
        lengths = [len(segments[index].ids) for index in batch]
        assert len(batch) * max(lengths) - sum(lengths) <= (0 if parents & set(batch) else wasted)
        for index in batch:
            parent = segments[index].parent
            assert parent is None or batch_of[parent] < batch_of[index]


def test_a_header_is_computed_once_and_prompts_behind_it():
    segments = split_into_segments(sequences((*HEADER, 1, 2), (*HEADER, 3, 4), (*HEADER, 5)), None, 64)
    assert [(segment.ids, segment.start, segment.parent) for segment in segments] == [
        (HEADER, 0, None),
        ((5,), 40, 0),
        ((3, 4), 40, 0),
        ((1, 2), 40, 0),
    ]


def test_beginnings_within_a_beginning_are_shared_too():
    """A header, after it two prompts, after each of those its answers."""
    first, second = tuple(range(30)), tuple(range(50, 80))
    many = sequences(*(HEADER + prompt + (900 + k,) for prompt in (first, second) for k in range(4)))
    segments = split_into_segments(many, None, 64)
    assert [len(segment.ids) for segment in segments].count(30) == 2
    assert sum(len(segment.ids) for segment in segments) == 40 + 2 * 30 + 8


def test_a_few_common_tokens_are_not_worth_a_step_of_their_own():
    many = sequences(*((7, 8, 9, k) for k in range(10)))
    assert [segment.parent for segment in split_into_segments(many, None, 64)] == [None] * 10
    assert len(split_into_segments(many, None, 27)) == 11


def test_nothing_is_shared_where_that_is_not_allowed():
    many = sequences((*HEADER, 1), (*HEADER, 2))
    segments = split_into_segments(many, 16, 1, lambda _: True)
    assert [segment.ids for segment in segments] == [(*HEADER, 1), (*HEADER, 2)]


def test_many_nested_sequences_are_no_recursion():
    """More of them than calls that may be open: so many that Python's own limit is passed take seconds."""
    many = sequences(*((1,) * length for length in range(1, 1000, 2)))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    try:
        segments = split_into_segments(many, None, 1)
    finally:
        sys.setrecursionlimit(limit)
    assert sum(len(segment.kept) for segment in segments) == len(many)
