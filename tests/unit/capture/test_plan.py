from hypothesis import given
from hypothesis import strategies as st

from layerwise.capture.plan import Sequence, group_by_length


def sequences(lengths):
    return [Sequence(tuple(range(length)), (length - 1,)) for length in lengths]


def test_groups_are_equally_long_and_bounded():
    assert group_by_length(sequences([3, 5, 3, 3, 5]), tokens_at_once=6) == [[0, 2], [3], [1], [4]]


def test_a_sequence_longer_than_the_bound_is_a_group_of_its_own():
    assert group_by_length(sequences([50, 50]), tokens_at_once=6) == [[0], [1]]


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 40))
def test_every_sequence_is_in_one_group(lengths, bound):
    groups = group_by_length(sequences(lengths), bound)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len({lengths[index] for index in group}) == 1
        assert len(group) == 1 or len(group) * lengths[group[0]] <= bound
