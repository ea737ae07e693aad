import hashlib
import json
import os
from pathlib import Path

import pytest

from layerwise.errors import ModelError
from layerwise.models.machine.cache import (
    cache_folder,
    known_sha256,
    remember_sha256,
    remembered_sha256,
    writing_to_cache,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("LAYERWISE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "layerwise"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "layerwise"


def test_cache_that_cannot_be_made_is_named_with_the_reason(cache: Path):
    cache.write_text("a file stands where the folder should be")
    with (
        pytest.raises(ModelError, match=r"(?s)cache cannot be written: .*LAYERWISE_CACHE"),
        writing_to_cache(),
    ):
        pass


def test_other_errors_pass_through_unchanged():
    with pytest.raises(FileNotFoundError), writing_to_cache() as folder:
        (folder / "missing").read_text()


def test_sum_is_remembered_until_the_file_changes(tmp_path: Path, cache: Path):
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    assert remembered_sha256(file) == hashlib.sha256(b"one").hexdigest()
    memory = cache / "sums.json"
    memory.write_text(memory.read_text().replace(hashlib.sha256(b"one").hexdigest(), "remembered"))
    assert remembered_sha256(file) == "remembered"
    file.write_bytes(b"two")
    os.utime(file, ns=(0, 0))
    assert remembered_sha256(file) == hashlib.sha256(b"two").hexdigest()


def test_sum_is_right_although_the_memory_is_damaged_or_cannot_be_written(tmp_path: Path, cache: Path):
    file = tmp_path / "weights"
    file.write_bytes(b"one")
    cache.mkdir()
    (cache / "sums.json").write_text("[1, 2")
    assert remembered_sha256(file) == hashlib.sha256(b"one").hexdigest()
    (cache / "sums.json").unlink()
    cache.rmdir()
    cache.write_text("not a folder")
    assert remembered_sha256(file) == hashlib.sha256(b"one").hexdigest()


def test_sums_of_files_that_are_gone_are_forgotten(tmp_path: Path, cache: Path):
    gone, kept = tmp_path / "gone", tmp_path / "kept"
    gone.write_bytes(b"1")
    remembered_sha256(gone)
    gone.unlink()
    kept.write_bytes(b"2")
    remembered_sha256(kept)
    assert list(json.loads((cache / "sums.json").read_text())) == [str(kept.resolve())]


def test_a_sum_that_was_entered_is_known_until_the_file_changes(tmp_path: Path):
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    remember_sha256(file, "f" * 64)
    assert known_sha256(file) == "f" * 64
    file.write_bytes(b"abcd")
    assert known_sha256(file) is None
