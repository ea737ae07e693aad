import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
import torch

from layerwise.readout.readout import Readout, ReadoutPlan

pytest.importorskip("numba", reason="numba is not installed here")

from layerwise.readout import compiled_statistics


@pytest.fixture
def logits() -> torch.Tensor:
    return torch.randn(6, 5, 700, generator=torch.Generator().manual_seed(0)) * 4


@pytest.fixture
def wanted() -> ReadoutPlan:
    targets = torch.randint(700, (6, 2), generator=torch.Generator().manual_seed(1))
    return ReadoutPlan(7, targets, torch.tensor([[3, 4, -1]] * 6), (1.0, 0.3), (4, 3, 2, 1, 0))


def assert_equal(got: Readout, expected: Readout) -> None:
    for field in fields(Readout):
        assert torch.equal(getattr(got, field.name), getattr(expected, field.name)), field.name


def test_the_exponential_is_exact_to_two_parts_in_ten_million():
    x = np.concatenate([np.linspace(-87, 0, 20_001), -np.logspace(-12, 1.9, 2_001)]).astype(np.float32)
    got = np.array([compiled_statistics._exp(value) for value in x], np.float64)
    expected = np.exp(x.astype(np.float64))
    assert (abs(got / expected - 1)).max() < 2e-7


@pytest.mark.parametrize(("x", "expected"), [(0.0, 1.0), (-0.0, 1.0), (-88.0, 0.0), (-1e30, 0.0), (-math.inf, 0.0)])
def test_the_exponential_at_its_ends(x, expected):
    assert compiled_statistics._exp(np.float32(x)) == expected


def test_the_exponential_of_what_is_no_number_is_none():
    assert math.isnan(compiled_statistics._exp(np.float32(math.nan)))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_bits(threads, logits, wanted, monkeypatch):
    alone = compiled_statistics.read_logits(logits, wanted)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    for rows_together in (1, 4, 8):  # pieces that begin and end within places, too
        monkeypatch.setattr(compiled_statistics, "_ROWS_TOGETHER", rows_together)
        assert_equal(compiled_statistics.read_logits(logits, wanted), alone)


def test_a_row_gives_the_same_bits_alone_and_among_others(logits, wanted):
    together = compiled_statistics.read_logits(logits, wanted)
    for place in range(6):
        some = slice(place, place + 1)
        alone = compiled_statistics.read_logits(logits[some], wanted.of_places(some))
        assert_equal(alone, Readout(*(getattr(together, field.name)[some] for field in fields(Readout))))


def test_readers_at_once_do_not_disturb_one_another(logits, wanted, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    inputs = [logits * scale for scale in (0.1, 1.0, 5.0)]
    alone = [compiled_statistics.read_logits(some, wanted) for some in inputs]
    with ThreadPoolExecutor(3) as pool:
        at_once = list(pool.map(lambda some: compiled_statistics.read_logits(some, wanted), inputs * 10))
    for got, expected in zip(at_once, alone * 10, strict=True):
        assert_equal(got, expected)
