"""What is found on this machine, with troubles that are made rather than pretended where that can be done."""

import importlib.metadata
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import layerwise as lw
from layerwise.models.checkpoint.checkpoint import locate
from layerwise.models.health import Finding, Tried, examine, machine, model_files, packages, self_test
from layerwise.models.sources.bundled import bundled_file
from layerwise.models.sources.names import resolve

TOY = "smollm2-135m"


def only(findings, subject: str) -> Finding:
    [finding] = [finding for finding in findings if finding.subject == subject]
    return finding


def try_out(name: str) -> Tried:
    checks = lw.load(name, device="cpu").trace("a b").checks
    return Tried(checks.identity_error, checks.identity_limit, "float32 on cpu", 0.1)


@pytest.fixture
def ready(toy_bundled) -> Path:
    """The toy's file, prepared."""
    file = toy_bundled()
    locate(resolve(TOY))
    return file


def test_every_topic_is_looked_at_and_a_sound_machine_has_no_problems(ready):
    told = []
    findings = examine(try_out, lambda what, done, total: told.append(what))
    topics = list(dict.fromkeys(finding.topic for finding in findings))
    assert topics == ["machine", "devices", "versions", "hub", "caches", "models", "extras", "self-test"]
    assert len(told) == len(topics)
    assert [finding for finding in findings if finding.state == "problem"] == []
    assert only(findings, TOY).found.startswith("ready")
    assert "identity error" in only(findings, "trace").found


def test_without_something_to_try_out_there_is_no_self_test(ready):
    assert "self-test" not in {finding.topic for finding in examine()}


def test_weights_that_are_no_numbers_fail_the_self_test(toy_bundled):
    toy_bundled(norm=math.nan)
    locate(resolve(TOY))
    finding = self_test(try_out)
    assert finding.state == "problem"
    assert "NaN" in finding.found
    assert TOY in finding.advice


def test_with_no_model_ready_the_self_test_is_skipped_with_a_note(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path))
    finding = self_test(try_out)
    assert (finding.state, "models pull" in finding.advice) == ("note", True)
    assert list(tmp_path.iterdir()) == []


def test_a_bundled_model_with_another_sum_is_a_problem(ready):
    whole = ready.read_bytes()
    ready.write_bytes(whole[:-1] + b"x")
    finding = only(model_files.bundled_models(), TOY)
    assert (finding.state, "damaged" in finding.found) == ("problem", True)
    assert f"models pull {TOY}" in finding.advice
    assert model_files.ready_models() == []


def test_a_model_that_is_fetched_and_not_prepared_is_a_note(toy_bundled):
    toy_bundled()
    assert only(model_files.bundled_models(), TOY).found == "fetched, not prepared"
    assert model_files.ready_models() == []


def test_a_model_that_is_not_there_is_a_note_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path))
    finding = only(model_files.bundled_models(), TOY)
    assert (finding.state, finding.found) == ("note", "not fetched")
    assert not bundled_file(TOY).exists()


def test_a_cache_that_is_not_there_yet_is_fine_and_is_not_made(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "a" / "b"))
    finding = only(model_files.caches(), "layerwise's cache")
    assert (finding.state, "not there yet" in finding.found) == ("ok", True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_cache_folders_place_is_a_problem(tmp_path, monkeypatch, below):
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache" / below))
    finding = only(model_files.caches(), "layerwise's cache")
    assert (finding.state, "it is not a folder" in finding.found) == ("problem", True)
    assert "LAYERWISE_CACHE" in finding.advice


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="there is no /proc here, which nobody can write to")
def test_a_cache_that_cannot_be_written_is_a_problem(monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", "/proc/layerwise")
    finding = only(model_files.caches(), "layerwise's cache")
    assert (finding.state, "cannot be written (/proc)" in finding.found) == ("problem", True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_without_permission_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir(mode=0o500)
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    assert only(model_files.caches(), "layerwise's cache").state == "problem"


def test_a_files_bytes_are_counted_once_however_many_links_it_has(tmp_path):
    (tmp_path / "blob").write_bytes(bytes(3_000_000))
    (tmp_path / "hard").hardlink_to(tmp_path / "blob")
    (tmp_path / "soft").symlink_to(tmp_path / "blob")
    assert 3_000_000 <= model_files._used(tmp_path) < 3_001_000


def test_the_token_is_never_shown(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_verysecret")
    finding = only(model_files.hub(), "login")
    assert (finding.state, finding.found) == ("ok", "a token is set (HF_TOKEN)")
    assert "verysecret" not in str(list(model_files.hub()))


def test_without_a_token_there_is_a_note(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert only(model_files.hub(), "login").state == "note"


def test_names_from_outside_cannot_steer_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "\x1b[2J\u202e\n"))
    (tmp_path / "\x1b[2J\u202e\n").write_text("")
    said = str([(finding.found, finding.advice) for finding in examine()])
    assert not {"\x1b", "\u202e", "\n"} & set(said)
    assert all("\\x1b" not in finding.found for finding in examine())


def test_missing_and_unfit_packages_are_problems_with_the_command(monkeypatch):
    needs = ["torch<1", "nowhere-to-be-found>=3", "numpy>=1", 'never>=1; extra == "other"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
    findings = list(packages.versions())
    assert [f.subject for f in findings if f.state == "problem"] == ["torch", "nowhere-to-be-found"]
    assert "outside <1" in only(findings, "torch").found
    assert only(findings, "nowhere-to-be-found").advice == "pip install 'nowhere-to-be-found>=3'"


def test_without_numba_the_readout_is_off_and_nothing_is_wrong(monkeypatch):
    from layerwise import compiled

    monkeypatch.setattr(compiled, "available", lambda: False)
    finding = only(packages.versions(), "compiled readout")
    assert (finding.state, "off" in finding.found) == ("note", True)


def test_a_numba_that_cannot_be_imported_is_a_problem(tmp_path):
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('Numba needs NumPy 1.9 or less')")
    code = "from layerwise.models.health import packages; print(list(packages.versions())[-1])"
    said = printed_by(code, tmp_path)
    assert "'problem'" in said
    assert "Numba needs NumPy" in said


def test_a_pytorch_that_cannot_be_imported_leaves_the_other_checks_standing(tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.99: cannot open')")
    code = "from layerwise.models.health import examine; print(*examine(), sep='\\n')"
    said = printed_by(code, tmp_path).splitlines()
    assert any("topic='machine'" in line and "problem" in line and "libcudart" in line for line in said)
    assert any('subject="hub\'s cache"' in line for line in said)
    assert any("topic='extras'" in line for line in said)


def printed_by(code: str, first_on_path: Path) -> str:
    environment = os.environ | {"PYTHONPATH": str(first_on_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_extras_name_what_is_missing(monkeypatch):
    needs = ["torch", 'numpy; extra == "dev"', 'nowhere-to-be-found; extra == "bench"', 'numpy; extra == "bench"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
    findings = list(packages.extras())
    assert only(findings, "dev").state == "ok"
    assert (only(findings, "bench").state, only(findings, "bench").found) == ("note", "without nowhere-to-be-found")


@pytest.mark.parametrize(("quota", "expected"), [("max 100000", None), ("150000 100000", 2), ("1 100000", 1)])
def test_a_containers_share_of_the_processors_is_what_can_be_used(tmp_path, monkeypatch, quota, expected):
    free = machine.usable_cores()
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(machine, "_CPU_QUOTA", tmp_path / "cpu.max")
    assert machine.usable_cores() == (min(free, expected) if expected else free)


def test_a_containers_limit_is_a_note_that_says_how_to_keep_to_it(tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text("2000000000\n")
    monkeypatch.setattr(machine, "_MEMORY_LIMIT", tmp_path / "memory.max")
    finding = only(machine.processor_and_memory(), "memory of this container")
    assert (finding.found, finding.advice[:19]) == ("limited to 2.0 GB", "Pass --memory 1.6GB")


def test_every_device_is_named_with_its_memory():
    from layerwise.models.machine.device import available_devices

    assert [f.subject for f in machine.devices() if f.state == "ok"] == list(available_devices())
    assert "GB free" in only(machine.devices(), "cpu").found


def test_a_driver_without_a_device_in_pytorch_is_a_note(tmp_path, monkeypatch):
    import torch

    if torch.cuda.is_available():
        pytest.skip("PyTorch finds the device here")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    finding = only(machine.devices(), "cuda")
    assert (finding.state, "pytorch.org" in finding.advice) == ("note", True)
