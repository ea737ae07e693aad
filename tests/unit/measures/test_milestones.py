from typing import Any

import numpy as np
import pytest

from layerwise.measures.milestones import find_milestones, first, settled, stretches

NOTHING: dict[str, Any] = {
    "entropy_bits": np.full(6, 8.0),
    "kl_from_final_bits": np.array([9.0, 9, 9, 9, 9, 0]),
    "top_id": np.arange(100, 106),
    "top_prob": np.full(6, 0.5),
    "prompt_ids": frozenset({1, 2}),
}


def milestones(**curves):
    given: dict[str, Any] = {name: np.asarray(curve) for name, curve in curves.items()}
    return find_milestones(**NOTHING | given)


def answer(rank, prob=None):
    rank = np.asarray(rank)
    return milestones(answer_rank=rank, answer_prob=np.zeros(len(rank)) if prob is None else prob)


@pytest.mark.parametrize(
    ("holds", "expected_first", "expected_settled"),
    [
        ([0, 0, 0, 0], None, None),
        ([1, 1, 1, 1], 0, 0),
        ([0, 0, 1, 1], 2, 2),
        ([0, 1, 0, 1], 1, 3),
        ([1, 1, 1, 0], 0, None),
        ([0, 1, 0, 0], 1, None),
        ([1], 0, 0),
    ],
)
def test_first_and_settled(holds, expected_first, expected_settled):
    assert first(np.array(holds, dtype=bool)) == expected_first
    assert settled(np.array(holds, dtype=bool)) == expected_settled


def test_a_one_layer_blip_is_first_but_not_settled():
    found = answer([9, 1, 4, 3, 1, 1])
    assert found.first_top1 == 1
    assert found.settled_top1 == 4


def test_an_answer_lost_at_the_output_never_settles():
    found = answer([9, 1, 1, 1, 1, 2])
    assert found.first_top1 == 1
    assert found.settled_top1 is None


def test_an_answer_never_first_has_no_milestone():
    found = answer([9, 8, 7, 6, 5, 2])
    assert (found.first_top1, found.settled_top1, found.first_p50, found.first_p95) == (None,) * 4


def test_without_an_answer_its_milestones_are_none_and_the_others_are_there():
    found = milestones(kl_from_final_bits=[5, 4, 0.5, 3, 0.9, 0])
    assert (found.first_top1, found.settled_top1, found.first_p50, found.first_p95) == (None,) * 4
    assert found.settled_kl_1bit == 4


def test_probability_thresholds_must_be_exceeded():
    found = answer([1] * 6, np.array([0.1, 0.5, 0.51, 0.95, 0.96, 0.2]))
    assert found.first_p50 == 2
    assert found.first_p95 == 4


def test_settled_kl_includes_exactly_one_bit():
    assert milestones(kl_from_final_bits=[9, 9, 1.0, 1.0, 1.0, 0]).settled_kl_1bit == 2
    assert milestones(kl_from_final_bits=[9, 9, 1.0, 1.1, 1.0, 0]).settled_kl_1bit == 4


def test_copy_wants_a_prompt_token_above_95_percent():
    top = np.array([7, 1, 1, 7, 2, 7])
    assert milestones(top_id=top, top_prob=[0.99, 0.95, 0.96, 0.99, 0.99, 0.99]).copy == 2
    assert milestones(top_id=top, top_prob=[0.99, 0.9, 0.9, 0.99, 0.9, 0.99]).copy is None
    assert milestones(top_id=np.full(6, 7), top_prob=np.full(6, 0.99)).copy is None


def test_half_entropy_is_measured_against_layer_one_and_must_last():
    assert milestones(entropy_bits=[0.0, 8, 4, 5, 4, 3]).half_entropy == 4
    assert milestones(entropy_bits=[20.0, 8, 8, 8, 8, 3]).half_entropy == 5
    assert milestones(entropy_bits=[2.0, 8, 1, 1, 1, 5]).half_entropy is None


def test_stretches_are_runs_of_equal_neighbours():
    assert stretches(np.array([5, 5, 2, 5, 5, 5])) == [(5, 0, 1), (2, 2, 2), (5, 3, 5)]
    assert stretches(np.array([3])) == [(3, 0, 0)]
