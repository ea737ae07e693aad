"""Fits of streamed models: what has no room in memory lies on disk, and changes no number."""

import contextlib
from typing import Any

import pytest
import torch

import layerwise as lw
from benchmarks.tiny import always_streamed
from layerwise.errors import ModelError
from layerwise.fitting import accumulating, sums
from layerwise.fitting.checkpoint_clock import CheckpointClock
from layerwise.fitting.sums import Sums, SumsOnDisk, zero_sums
from layerwise.models.machine import arena

LAYOUT = {"count": ((), torch.int64), "layer.0": ((3, 5), torch.float32), "layer.1": ((7,), torch.float64)}
SETTINGS: dict[str, Any] = {"count": 8, "length": 12}


@pytest.fixture
def streamed(family_folder):
    def load(room: int):
        with always_streamed():
            model = lw.load(family_folder("qwen3"), device="cpu")
        model._loaded.residency.bytes_for_states = room  # type: ignore[misc]
        return model

    return load


@pytest.mark.parametrize("made", [Sums, SumsOnDisk])
def test_sums_begin_at_zero_and_are_added_to(made):
    mine, others = made(LAYOUT), Sums(LAYOUT)
    assert {name: (tuple(each.shape), each.dtype) for name, each in mine.items()} == LAYOUT
    assert not any(each.any() for each in mine.values())
    for name in LAYOUT:
        with others.changed(name) as each:
            each.add_(3)
        with mine.changed(name) as each:
            each.add_(torch.arange(each.numel()).view(each.shape))
    mine.include(others)
    assert all(torch.equal(each.flatten(), torch.arange(each.numel()).to(each) + 3) for each in mine.values())
    assert mine.n_bytes == 8 + 60 + 56


def test_what_was_taken_out_of_sums_on_disk_stays_as_it_was():
    held = SumsOnDisk(LAYOUT)
    before = held["layer.1"]
    with held.changed("layer.1") as each:
        each.add_(1)
    assert float(before.sum()) == 0
    assert float(held["layer.1"].sum()) == 7


def test_sums_lie_on_disk_where_both_halves_have_no_room(streamed):
    size = 8 + 60 + 56
    assert zero_sums(streamed(4 * size)._loaded, LAYOUT).in_memory
    assert not zero_sums(streamed(4 * size - 2)._loaded, LAYOUT).in_memory


def test_a_disk_without_room_is_named(streamed, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(arena.os, "posix_fallocate", full, raising=False)
    with pytest.raises(ModelError, match=r"A fit's sums of .* No space left on device. Fit fewer --layers at a time"):
        zero_sums(streamed(10)._loaded, LAYOUT)


@pytest.mark.parametrize(("method", "options"), [("jacobian", {"skipped": 4}), ("ridge", {"penalty": 0.1})])
def test_little_room_changes_no_number(streamed, manual, tmp_path, monkeypatch, method, options):
    """Nor does an interruption, with sums that are on disk before and after it."""
    on_disk = []
    usual = SumsOnDisk.__init__
    monkeypatch.setattr(sums.SumsOnDisk, "__init__", lambda self, layout: on_disk.append(layout) or usual(self, layout))
    plenty = lw.fit_lens(streamed(1 << 30), method, tmp_path / "plenty", manual, **SETTINGS, options=options)
    assert not on_disk
    model = streamed(4096)
    monkeypatch.setattr(CheckpointClock, "is_due", lambda self: True)
    saved = []

    def interrupted(folder, state, halves, _save=accumulating.save_sums):
        _save(folder, state, halves)
        saved.append(state.done)
        if len(saved) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(accumulating, "save_sums", interrupted)
    with contextlib.suppress(KeyboardInterrupt):
        lw.fit_lens(model, method, tmp_path / "little", manual, **SETTINGS, options=options)
    assert len(saved) == 1
    little = lw.fit_lens(model, method, tmp_path / "little", manual, **SETTINGS, options=options)
    assert len(on_disk) >= 4, "both halves', before and after"
    for layer, translator in plenty.translators.items():
        for name, values in translator.tensors.items():
            torch.testing.assert_close(little.translators[layer].tensors[name], values, rtol=2e-3, atol=2e-5)
    assert little.card is not None
    assert plenty.card is not None
    assert little.card.held_out["halves"]["matrix_error"] == pytest.approx(
        plenty.card.held_out["halves"]["matrix_error"], rel=1e-3
    )
