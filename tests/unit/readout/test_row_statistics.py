import math
from dataclasses import fields

import numpy as np
import pytest
import torch

from layerwise.readout.readout import Readout, ReadoutPlan
from layerwise.readout.row_statistics import exact_top_k, log_sum_exp, read_logits

INF, NAN = math.inf, math.nan
LEAST, MOST = torch.finfo(torch.float32).min, torch.finfo(torch.float32).max


def read(rows, device: torch.device, top_k: int = 1, **changes) -> Readout:
    """Read one place of rows."""
    logits = torch.as_tensor(rows, dtype=torch.float32, device=device)[None]
    wanted = ReadoutPlan.of_rows(logits.shape[1], min(top_k, logits.shape[2]))
    return read_logits(logits, ReadoutPlan(**{f.name: getattr(wanted, f.name) for f in fields(ReadoutPlan)} | changes))


@pytest.mark.parametrize("vocab", [1, 2, 63, 64, 65, 127, 128, 511, 512, 513, 1003])
@pytest.mark.parametrize("k", [1, 5, 64, 65, 2000])
def test_top_k_at_block_edges(vocab, k, device):
    values = torch.randn(3, vocab, generator=torch.Generator().manual_seed(vocab))
    expected = values.sort(descending=True, stable=True)
    top, ids = exact_top_k(values.to(device), k)
    assert torch.equal(top.cpu(), expected.values[:, :k])
    assert torch.equal(ids.cpu(), expected.indices[:, :k])
    got = read(values, device, k)
    assert torch.equal(got.top_ids[0], expected.indices[:, :k])
    assert torch.equal(got.top_logits[0], expected.values[:, :k])


def test_top_k_finds_the_best_in_the_tail_behind_the_last_whole_block(device):
    values = torch.zeros(1, 64 * 9 + 3)
    values[0, -1] = 1
    assert exact_top_k(values.to(device), 2)[1].tolist() == [[64 * 9 + 2, 0]]
    assert read(values, device, 2).top_ids.tolist() == [[[64 * 9 + 2, 0]]]


def test_a_zero_ties_with_its_negative(device):
    got = read([[-0.0, 0.0, -0.0, -1.0]], device, 3, targets=torch.tensor([[1]]))
    assert got.top_ids.tolist() == [[[0, 1, 2]]]
    assert got.target_ranks.item() == 1
    assert got.target_ties.item() == 2


def test_tokens_of_no_probability_come_last_by_id(device):
    row = torch.full((1, 700), -INF)
    row[0, [650, 3]] = 0
    got = read(row, device, 4, targets=torch.tensor([[5, 3]]))
    assert got.top_ids.tolist() == [[[3, 650, 0, 1]]]
    assert got.target_ranks.tolist() == [[[3, 1]]]
    assert got.target_ties.tolist() == [[[697, 1]]]
    assert got.entropy_bits.item() == 1


def test_a_token_that_the_reference_expects_and_a_row_rules_out_is_infinitely_surprising(device):
    got = read([[0, -INF, 1], [0, 0, 0]], device, base=(1, 0))
    assert got.kl_from_final_bits.tolist() == [[INF, 0]]
    assert got.kl_to_final_bits[0, 0].item() == pytest.approx(0.74502, abs=1e-5)
    assert got.kl_from_base_bits[0].tolist() == [INF, pytest.approx(0.74502, abs=1e-5)]
    other = read([[0, 0, 0], [0, -INF, 1]], device)
    assert other.kl_to_final_bits.tolist() == [[INF, 0]]
    assert other.kl_from_final_bits[0, 0].item() == pytest.approx(0.74502, abs=1e-5)


def test_tokens_that_both_rule_out_count_for_nothing(device):
    got = read([[0, -INF, 1], [2, -INF, 0]], device, base=(1, 0))
    without = read([[0, 1], [2, 0]], device, base=(1, 0))
    for name in ("entropy_bits", "kl_to_final_bits", "kl_from_final_bits", "kl_from_base_bits", "total_variation"):
        assert torch.allclose(getattr(got, name), getattr(without, name), atol=1e-6), name


@pytest.mark.parametrize("bad", [NAN, INF])
@pytest.mark.parametrize("place", [0, 5, 63, 64, 200, 511, 512, 599])
def test_what_is_no_number_stays_none_wherever_it_stands(bad, place, device):
    """Also after the logits that top-k looks at, and in a block whose other logits are small."""
    rows = torch.zeros(3, 600)
    rows[:, 300] = 9
    rows[0, place] = bad
    got = read(rows, device, 3, base=(1, 0, 2), temperatures=(1.0, 0.5))
    for name in ("entropy_bits", "kl_to_final_bits", "kl_from_final_bits", "total_variation"):
        numbers = getattr(got, name)[0]
        assert numbers.isnan().tolist() == [True, False, False], name
    assert got.lse[0].isnan().tolist() == [[True, True], [False, False], [False, False]]
    assert got.kl_from_base_bits[0].isnan().tolist() == [True, True, False]


@pytest.mark.parametrize("place", [0, 70, 599])
def test_a_reference_that_is_no_number_leaves_only_the_rows_own_entropy(place, device):
    rows = torch.zeros(2, 600)
    rows[1, place] = NAN
    got = read(rows, device)
    assert got.entropy_bits[0, 0].item() == pytest.approx(math.log2(600))
    for name in ("kl_to_final_bits", "kl_from_final_bits", "total_variation"):
        assert bool(getattr(got, name).isnan().all()), name


def test_a_row_without_any_probability_has_no_entropy(device):
    got = read([[-INF, -INF], [0, 0]], device)
    assert got.entropy_bits.isnan().tolist() == [[True, False]]


@pytest.mark.parametrize("far", [1e4, 1e30, -1e30, LEAST, MOST])
@pytest.mark.parametrize("sure", [0.0, 50.0])
def test_extreme_logits_make_extreme_numbers_and_no_nan(far, sure, device):
    """A divergence beyond the largest float32 is infinite."""
    rows = [[0.0, far, 1.0], [far, far, 1.0], [0.0, sure, 0.0]]
    got = read(rows, device, 3, base=(1, 2, 0), temperatures=(1.0, 0.1, 10.0))
    for field in fields(Readout):
        assert not bool(getattr(got, field.name).isnan().any()), field.name
    z = np.array(rows, np.float32).astype(np.float64)
    with np.errstate(over="ignore"):
        for column, t in enumerate((1.0, 0.1, 10.0)):
            np.testing.assert_allclose(got.lse[0, :, column], np.logaddexp.reduce(z / t, axis=1), rtol=1e-6, atol=1e-6)
    assert bool(got.lse.isfinite().all())
    assert bool((got.entropy_bits <= math.log2(3) + 1e-5).all())


def test_a_vocabulary_of_one_token_holds_no_surprise(device):
    got = read([[3.0], [1e30]], device, targets=torch.tensor([[0]]), mass_ids=torch.tensor([[0]]))
    assert got.entropy_bits.tolist() == got.kl_to_final_bits.tolist() == got.total_variation.tolist() == [[0, 0]]
    assert got.mass.tolist() == [[1, 1]]
    assert got.target_ranks.tolist() == [[[1], [1]]]
    assert got.target_logprobs.tolist() == [[[0], [0]]]


@pytest.mark.parametrize("scale", [0.01, 3.0, 30.0])
def test_sums_over_a_large_vocabulary_keep_their_precision(scale, device):
    """The largest vocabularies have some 262,144 tokens."""
    rows = torch.randn(2, 262_147, generator=torch.Generator().manual_seed(1)) * scale
    got = read(rows, device)
    p, q = rows.double().log_softmax(-1)
    bits = math.log(2)
    expected = {
        "entropy_bits": -(p.exp() * p).sum() / bits,
        "kl_to_final_bits": (p.exp() * (p - q)).sum() / bits,
        "kl_from_final_bits": (q.exp() * (q - p)).sum() / bits,
        "total_variation": (p.exp() - q.exp()).abs().sum() / 2,
    }
    for name, value in expected.items():
        assert getattr(got, name)[0, 0].item() == pytest.approx(value.item(), rel=1e-5, abs=1e-5), name


def test_log_sum_exp_is_in_float64_on_the_cpu(device):
    rows = torch.randn(3, 700, generator=torch.Generator().manual_seed(0)) * 5
    got = log_sum_exp(rows.to(device))
    assert (got.dtype, got.device.type) == (torch.float64, "cpu")
    torch.testing.assert_close(got, rows.double().logsumexp(-1), rtol=1e-6, atol=1e-6)


def test_logits_may_be_strided(device):
    """As a slice of a wider buffer is; what lies between the rows is not read."""
    wide = torch.full((2, 3, 200), NAN)
    wide[..., 10:110] = torch.randn(2, 3, 100, generator=torch.Generator().manual_seed(0))
    wanted = ReadoutPlan(4, torch.tensor([[3], [99]]), torch.tensor([[1, 2], [5, -1]]), (1.0,), (2, 2, 0))
    strided = read_logits(wide.to(device)[..., 10:110], wanted)
    packed = read_logits(wide[..., 10:110].contiguous().to(device), wanted)
    for field in fields(Readout):
        assert torch.equal(getattr(strided, field.name), getattr(packed, field.name)), field.name


def test_reading_leaves_the_logits_as_they_were(device):
    rows = torch.randn(1, 3, 600, generator=torch.Generator().manual_seed(0)).to(device)
    before = rows.clone()
    read_logits(rows, ReadoutPlan.of_rows(3, 5, (0.5,)))
    assert torch.equal(rows, before)


def test_log_probabilities_are_logits_less_the_log_sum_exp(device):
    rows = torch.randn(1, 2, 300, generator=torch.Generator().manual_seed(0)) + 1000
    got = read_logits(
        rows.to(device), ReadoutPlan(300, torch.tensor([[7]]), torch.empty(1, 0, dtype=torch.long), (1.0, 2.0), (0, 1))
    )
    expected = rows.double().log_softmax(-1)
    torch.testing.assert_close(
        got.top_logprobs.double(), expected.sort(-1, descending=True).values, rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(got.target_logprobs.double(), expected[..., [7]], rtol=1e-6, atol=1e-6)


def test_readouts_join_on_places_and_are_cut_on_rows(device):
    logits = torch.randn(4, 3, 80, generator=torch.Generator().manual_seed(0)).to(device)
    ids = torch.arange(4)[:, None]
    wanted = ReadoutPlan(5, ids, ids, (1.0,), (0, 1, 2))
    whole = read_logits(logits, wanted)
    halves = [read_logits(logits[some], wanted.of_places(some)) for some in (slice(0, 1), slice(1, 4))]
    joined, last = halves[0].with_room_for(4), whole.rows(slice(-1, None))
    for half, places in zip(halves, (slice(0, 1), slice(1, 4)), strict=True):
        joined.fill_in(places, half)
    for field in fields(Readout):
        assert torch.equal(getattr(joined, field.name), getattr(whole, field.name)), field.name
        assert torch.equal(getattr(last, field.name), getattr(whole, field.name)[:, 2:]), field.name
