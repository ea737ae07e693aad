import dataclasses
import hashlib
import types
from typing import Any

import pytest
import torch

from layerwise.lenses.unembedding import unembedding_sum
from layerwise.models.weights.matrix import StoredMatrix


def head_of(model, weight):
    return dataclasses.replace(model._loaded.output_head, weight=weight)


def test_it_is_a_sum_over_shape_and_numbers_in_the_order_of_tokens(tiny):
    weight = tiny._loaded.output_head.weight
    values = weight.bfloat16().to(torch.float16)
    expected = hashlib.sha256(f"{tuple(weight.shape)}\n".encode() + values.numpy().tobytes()).hexdigest()
    assert unembedding_sum(tiny._loaded.output_head) == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_bfloat16_checkpoint_has_one_sum_in_every_precision(tiny, dtype):
    draw = torch.Generator().manual_seed(0)
    spread = torch.pow(10.0, torch.randint(-9, 6, (300, 1), generator=draw).float())
    stored = (torch.randn(300, 64, generator=draw) * spread).bfloat16()
    assert unembedding_sum(head_of(tiny, stored.to(dtype))) == unembedding_sum(head_of(tiny, stored))


def test_other_numbers_shapes_and_orders_have_other_sums(tiny):
    weight = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    others = [weight * 1.01, weight[:10], weight.flip(0), weight.view(64, 20), torch.cat([weight, weight[:1]])]
    assert len({unembedding_sum(head_of(tiny, each)) for each in [weight, *others]}) == 6


class OnDisk:
    """Stands for weight files: rows are only to be had a few at a time."""

    def __init__(self, whole: torch.Tensor) -> None:
        self.whole = whole
        self.tensors = {"head": types.SimpleNamespace(shape=tuple(whole.shape))}

    def dtype_of(self, name: str) -> torch.dtype:
        return self.whole.dtype

    def read_rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        assert stop - start <= 7
        return self.whole[start:stop].clone()


def test_a_matrix_on_disk_has_the_sum_of_the_same_in_memory(tiny, monkeypatch):
    weight = torch.randn(20, 64)
    expected = unembedding_sum(head_of(tiny, weight))
    monkeypatch.setattr("layerwise.models.weights.matrix.SLICE", 7 * 64 * 4)
    files: Any = OnDisk(weight)
    assert unembedding_sum(head_of(tiny, StoredMatrix(files, "head"))) == expected


def test_it_is_computed_once(tiny, monkeypatch):
    head = head_of(tiny, torch.randn(20, 64))
    first = unembedding_sum(head)
    monkeypatch.setattr("layerwise.lenses.unembedding.slices_of", lambda _: pytest.fail("computed again"))
    assert unembedding_sum(head) == first
