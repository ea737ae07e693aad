import math

import pytest
import torch
from torch import nn

from layerwise.models.head import Head, OutputTransform
from layerwise.readout import kernel
from layerwise.readout.kernel import exact_top_k, read_out


def identity_head(vocab: int) -> Head:
    return Head(nn.Identity(), torch.eye(vocab), None, OutputTransform())


def test_rank_counts_only_strictly_larger_logits():
    row = torch.tensor([[[3.0, 5.0, 3.0, 3.0, 9.0]]])
    got = read_out(row, identity_head(5), reference=row[:, 0], targets=[[0, 1, 4]])
    assert got.target_ranks.tolist() == [[[3, 2, 1]]]
    assert got.target_ties.tolist() == [[[2, 0, 0]]]


def test_equal_logits_give_the_lower_id_first_and_the_highest_entropy():
    row = torch.zeros(1, 1, 256)
    got = read_out(row, identity_head(256), reference=row[:, 0], top_k=3, targets=[[200]])
    assert got.top_ids.tolist() == [[[0, 1, 2]]]
    assert got.entropy_bits.item() == pytest.approx(8)
    assert got.target_ranks.item() == 1
    assert got.target_ties.item() == 255


def test_one_huge_logit_is_certain_and_stays_finite():
    row = torch.zeros(1, 1, 300)
    row[..., 217] = 1e30
    got = read_out(row, identity_head(300), reference=torch.zeros(1, 300), targets=[[0]])
    assert got.top_ids[0, 0, 0] == 217
    assert got.entropy_bits.item() == 0
    assert got.kl_to_final_bits.item() == pytest.approx(math.log2(300), rel=1e-5)
    assert bool(got.kl_from_final_bits.isfinite().all())


def test_divergences_are_named_after_their_direction():
    """KL((.9, .1) ‖ (.5, .5)) is .531 bits; the other way round it is .737."""
    row, reference = torch.tensor([[[0.9, 0.1]]]).log(), torch.tensor([[0.5, 0.5]]).log()
    got = read_out(row, identity_head(2), reference=reference)
    assert got.kl_to_final_bits.item() == pytest.approx(0.531, abs=1e-3)
    assert got.kl_from_final_bits.item() == pytest.approx(0.737, abs=1e-3)
    assert got.total_variation.item() == pytest.approx(0.4)


def test_nothing_to_look_for_is_no_error():
    row = torch.randn(2, 3, 70)
    got = read_out(row, identity_head(70), reference=row[:, -1])
    assert got.target_ranks.shape == (2, 3, 0)
    assert got.target_logprobs.shape == (2, 3, 0)
    assert got.mass.tolist() == [[0, 0, 0]] * 2


def test_more_is_asked_for_than_the_vocabulary_has():
    row = torch.randn(1, 1, 6)
    assert read_out(row, identity_head(6), reference=row[:, 0], top_k=50).top_ids.shape == (1, 1, 6)


@pytest.mark.parametrize("vocab", [1, 63, 64, 65, 128, 400])
@pytest.mark.parametrize("k", [1, 5, 64, 65, 1000])
def test_top_k_at_block_edges(vocab, k):
    values = torch.randn(3, vocab, generator=torch.Generator().manual_seed(vocab))
    top, ids = exact_top_k(values, k)
    expected = values.sort(descending=True, stable=True)
    assert torch.equal(top, expected.values[:, :k])
    assert torch.equal(ids, expected.indices[:, :k])


def test_top_k_finds_the_best_in_the_tail_behind_the_last_whole_block():
    values = torch.zeros(1, 64 * 9 + 3)
    values[0, -1] = 1
    assert exact_top_k(values, 2)[1].tolist() == [[64 * 9 + 2, 0]]


def test_results_do_not_depend_on_how_many_groups_are_multiplied_at_once(monkeypatch):
    draw = torch.Generator().manual_seed(1)
    states, weight = torch.randn(7, 5, 16, generator=draw), torch.randn(200, 16, generator=draw)
    head = Head(nn.Identity(), weight, None, OutputTransform(softcap=4.0))
    at_once = read_out(states, head, reference=states[:, -1], targets=[[3]] * 7)
    monkeypatch.setattr(kernel, "_PRODUCT_BYTES", 1)
    monkeypatch.setattr(kernel, "_STATISTICS_ROWS", 2)
    one_by_one = read_out(states, head, reference=states[:, -1], targets=[[3]] * 7)
    assert torch.equal(at_once.top_ids, one_by_one.top_ids)
    assert torch.allclose(at_once.entropy_bits, one_by_one.entropy_bits, atol=1e-5)
    assert torch.allclose(at_once.target_logprobs, one_by_one.target_logprobs, atol=1e-5)
