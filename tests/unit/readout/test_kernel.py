import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import nn

from layerwise import compiled
from layerwise.models.output_head.output_head import OutputHead, OutputTransform
from layerwise.readout import kernel, row_statistics
from layerwise.readout.kernel import read_out
from layerwise.readout.readout import Readout

EXACT = ("top_ids", "target_ranks", "target_ties")


def identity_head(vocab: int, device: torch.device) -> OutputHead:
    return OutputHead(nn.Identity(), torch.eye(vocab, device=device), None, OutputTransform())


@pytest.fixture
def random_head(device) -> OutputHead:
    weight = torch.randn(203, 16, generator=torch.Generator().manual_seed(1))
    return OutputHead(nn.Identity(), weight.to(device), None, OutputTransform(softcap=4.0))


@pytest.fixture
def states(device) -> torch.Tensor:
    return torch.randn(7, 5, 16, generator=torch.Generator().manual_seed(2)).to(device)


def assert_same(got: Readout, expected: Readout) -> None:
    for field in fields(Readout):
        ours, theirs = getattr(got, field.name), getattr(expected, field.name)
        if field.name in EXACT:
            assert torch.equal(ours, theirs), field.name
        else:
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5, msg=field.name)


def limit_logits(monkeypatch, places: int, head: OutputHead, rows: int) -> None:
    size = places * rows * head.vocab_size * 4
    monkeypatch.setattr(kernel, "_LOGITS_BYTES", dict.fromkeys(("cpu", "cuda", "mps"), size))


def test_rank_counts_only_strictly_larger_logits(device):
    row = torch.tensor([[[3.0, 5.0, 3.0, 3.0, 9.0]]], device=device)
    got = read_out(row, identity_head(5, device), targets=[[0, 1, 4]])
    assert got.target_ranks.tolist() == [[[3, 2, 1]]]
    assert got.target_ties.tolist() == [[[2, 0, 0]]]
    assert got.target_logits.tolist() == [[[3, 5, 9]]]


def test_equal_logits_give_the_lower_id_first_and_the_highest_entropy(device):
    row = torch.zeros(1, 1, 256, device=device)
    got = read_out(row, identity_head(256, device), top_k=3, targets=[[200]])
    assert got.top_ids.tolist() == [[[0, 1, 2]]]
    assert got.entropy_bits.item() == pytest.approx(8)
    assert got.target_ranks.item() == 1
    assert got.target_ties.item() == 255


def test_one_huge_logit_is_certain_and_stays_finite(device):
    rows = torch.zeros(1, 2, 300, device=device)
    rows[0, 0, 217] = 1e30
    got = read_out(rows, identity_head(300, device), targets=[[0]])
    assert got.top_ids[0, 0, 0] == 217
    assert got.entropy_bits[0, 0] == 0
    assert got.kl_to_final_bits[0, 0].item() == pytest.approx(math.log2(300), rel=1e-5)
    assert got.kl_from_final_bits[0, 0].item() == pytest.approx(1e30 / math.log(2) * 299 / 300, rel=1e-5)


def test_divergences_are_named_after_their_direction(device):
    """KL((.9, .1) ‖ (.5, .5)) is .531 bits; the other way round it is .737. The last row is the final one."""
    rows = torch.tensor([[[0.9, 0.1], [0.5, 0.5]]]).log().to(device)
    got = read_out(rows, identity_head(2, device))
    assert got.kl_to_final_bits.tolist()[0] == pytest.approx([0.531, 0], abs=1e-3)
    assert got.kl_from_final_bits.tolist()[0] == pytest.approx([0.737, 0], abs=1e-3)
    assert got.total_variation.tolist()[0] == pytest.approx([0.4, 0])


def test_the_divergence_from_a_base_row_starts_there(device):
    """Row 0 is compared with row 1: KL((.5, .5) ‖ (.9, .1)). Row 1 and the last have no other base."""
    rows = torch.tensor([[[0.9, 0.1], [0.5, 0.5], [0.3, 0.7]]]).log().to(device)
    got = read_out(rows, identity_head(2, device), base=[1, 1, 2])
    assert got.kl_from_base_bits.tolist()[0] == pytest.approx([0.737, 0, 0], abs=1e-3)
    assert read_out(rows, identity_head(2, device)).kl_from_base_bits.tolist() == [[0, 0, 0]]


def test_temperatures_come_behind_temperature_one(device):
    rows = torch.tensor([[[0.0, 1.0, 3.0]]], device=device)
    got = read_out(rows, identity_head(3, device), temperatures=[0.5, 10.0])
    expected = [math.log(sum(math.exp(z / t) for z in (0, 1, 3))) for t in (1, 0.5, 10)]
    assert got.lse.tolist() == [[pytest.approx(expected, rel=1e-6)]]
    assert got.lse.dtype == torch.float64


def test_nothing_to_look_for_is_no_error(device):
    row = torch.randn(2, 3, 70).to(device)
    got = read_out(row, identity_head(70, device))
    assert got.target_ranks.shape == (2, 3, 0)
    assert got.target_logprobs.shape == (2, 3, 0)
    assert got.mass.tolist() == [[0, 0, 0]] * 2


def test_more_is_asked_for_than_the_vocabulary_has(device):
    row = torch.randn(1, 1, 6).to(device)
    assert read_out(row, identity_head(6, device), top_k=50).top_ids.shape == (1, 1, 6)


def test_groups_that_want_fewer_targets_repeat_their_first(device):
    rows = torch.arange(5.0).expand(3, 1, 5).contiguous().to(device)
    got = read_out(rows, identity_head(5, device), targets=[[4, 1, 2], [3], []], mass_ids=[[0, 1, 2, 3, 4], [], [4]])
    assert got.target_logits.tolist() == [[[4, 1, 2]], [[3, 3, 3]], [[0, 0, 0]]]
    assert got.mass[:2].tolist() == [[pytest.approx(1)], [0]]
    assert got.mass[2].item() == pytest.approx(math.exp(got.top_logprobs[2, 0, 0].item()))


@pytest.mark.parametrize("option", ["targets", "mass_ids"])
def test_an_id_beyond_the_vocabulary_is_an_error_and_no_number(device, option):
    rows = torch.zeros(2, 2, 50)
    asked: dict[str, Any] = {option: [[0], [50]]}
    with pytest.raises(IndexError):
        read_out(rows.to(device), identity_head(50, device), **asked)


def test_results_do_not_depend_on_how_many_groups_are_multiplied_at_once(device, states, random_head, monkeypatch):
    options: dict[str, Any] = {
        "targets": [[place, 50 + place] for place in range(7)],
        "mass_ids": [[0, 5, 9, 20][:place] for place in range(7)],
        "base": [4, 3, 2, 1, 0],
        "temperatures": [0.5],
    }
    at_once = read_out(states, random_head, **options)
    for places in (1, 3):
        limit_logits(monkeypatch, places, random_head, 5)
        assert_same(read_out(states, random_head, **options), at_once)
    limit_logits(monkeypatch, 0, random_head, 5)
    monkeypatch.setattr(row_statistics, "_CACHES_PER_TILE", 0)  # one row of statistics at a time
    if compiled.available():
        monkeypatch.setattr("layerwise.readout.compiled_statistics._ROWS_TOGETHER", 1)
    assert_same(read_out(states, random_head, **options), at_once)


def test_large_rows_are_made_for_no_more_places_than_are_multiplied(device, states, random_head, monkeypatch):
    limit_logits(monkeypatch, 3, random_head, 10)
    monkeypatch.setattr(kernel, "_MADE_BYTES", 1)
    seen: list[torch.Tensor] = []

    def both_ways(some: torch.Tensor) -> torch.Tensor:
        seen.append(some)
        return torch.cat([-some, some], dim=1)

    got = read_out(states, random_head, rows_of=both_ways)
    assert max(len(some) for some in seen) <= 3
    assert torch.equal(torch.cat([some for some in seen if len(some) > 1 or torch.equal(some, states[-1:])]), states)
    assert_same(got.rows(slice(5, None)), read_out(states, random_head))
    assert got.entropy_bits.shape == (7, 10)


def test_progress_counts_the_groups_up_to_the_last(device, states, random_head, monkeypatch):
    limit_logits(monkeypatch, 3, random_head, 5)
    told: list[tuple[str, int, int | None]] = []
    read_out(states, random_head, progress=lambda *news: told.append(news))
    assert [(done, total) for _, done, total in told] == [(3, 7), (6, 7), (7, 7)]


def test_the_last_row_alone_decides_what_the_others_are_compared_with(device, states, random_head):
    changed = states.clone()
    changed[:, 1] *= -1
    before, after = read_out(states, random_head), read_out(changed, random_head)
    kept = [0, 2, 3, 4]
    for name in ("kl_to_final_bits", "kl_from_final_bits", "total_variation"):
        assert torch.allclose(getattr(before, name)[:, kept], getattr(after, name)[:, kept], atol=1e-5)
        assert not torch.allclose(getattr(before, name)[:, 1], getattr(after, name)[:, 1], atol=1e-2)


def test_bias_scale_and_soft_cap_are_in_what_is_read(device, states):
    draw = torch.Generator().manual_seed(3)
    weight, bias = torch.randn(90, 16, generator=draw), torch.randn(90, generator=draw) * 3
    head = OutputHead(nn.Identity(), weight.to(device), bias.to(device), OutputTransform(0.5, 3.0))
    z = 3 * torch.tanh((states.cpu().double() @ weight.double().T + bias.double()) * 0.5 / 3)
    logprobs = z.log_softmax(-1)
    got = read_out(states, head, top_k=90)
    # Logits in float32 against float64: measured 2e-6.
    torch.testing.assert_close(got.top_logprobs.double(), logprobs.sort(-1, descending=True).values, rtol=0, atol=2e-5)
    bare = read_out(states, replace(head, bias=None), top_k=90)
    assert not torch.allclose(bare.top_logprobs, got.top_logprobs, atol=1e-2)


def test_readouts_are_on_the_cpu_wherever_they_were_made(device, states, random_head):
    got = read_out(states, random_head, targets=[[1]] * 7)
    assert {getattr(got, field.name).device.type for field in fields(Readout)} == {"cpu"}


def test_threads_that_read_at_once_do_not_disturb_one_another(device, states, random_head):
    """Each reads its own states, many times, while the others read theirs."""
    inputs = [states * scale for scale in (0.1, 0.5, 1.0, 2.0)]
    options: dict[str, Any] = {"targets": [[3, 8]] * 7, "base": [4] * 5, "top_k": 9}
    alone = [read_out(some, random_head, **options) for some in inputs]
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(lambda some: read_out(some, random_head, **options), inputs * 5))
    for got, expected in zip(at_once, alone * 5, strict=True):
        assert_same(got, expected)


def test_rows_are_made_for_many_places_at_a_time_and_read_the_same(monkeypatch, states, random_head):
    """A fitted lens goes through all its matrices once for them."""
    asked = []

    def rows_of(some):
        asked.append(len(some))
        return some * 2

    monkeypatch.setattr(kernel, "_rows_at_once", lambda *_: 10)
    expected = read_out(states, random_head, rows_of=rows_of)
    assert asked == [1, 7]
    asked.clear()
    monkeypatch.setattr(kernel, "_MADE_BYTES", 4 * 5 * 16 * 4)
    few = read_out(states, random_head, rows_of=rows_of)
    assert asked == [1, 4, 3]
    for field in fields(Readout):
        assert torch.equal(getattr(few, field.name), getattr(expected, field.name))


def test_the_rows_of_one_place_are_made_once(states, random_head):
    asked = []

    def rows_of(some):
        asked.append(len(some))
        return some * 2

    read_out(states[:1], random_head, rows_of=rows_of)
    assert asked == [1]
