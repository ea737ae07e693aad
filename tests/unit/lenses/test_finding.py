import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError

from layerwise.errors import LensError, LensWarning, OfflineError
from layerwise.lenses.finding import find_lens
from layerwise.lenses.folder import read_card
from layerwise.lenses.names import LensName
from tests.lenses import saved_lens


def test_a_path_is_relative_to_the_folder_given(tiny, tmp_path):
    folder = saved_lens(tmp_path / "study" / "lens", tiny)
    found = find_lens(LensName("ridge", "lens"), "tiny", tmp_path / "study")
    assert found.place == folder
    assert found.card == read_card(folder)
    assert found.sum == read_card(folder).tensors_sum
    with pytest.raises(LensError, match=r"no file or folder 'lens'.*paths are read from"):
        find_lens(LensName("ridge", "lens"), "tiny", tmp_path)


def test_its_sum_is_had_without_pytorch(tiny, tmp_path):
    folder = saved_lens(tmp_path / "lens", tiny)
    code = (
        "import sys; from layerwise.lenses.finding import find_lens; from layerwise.lenses.names import lens_name; "
        f"print(find_lens(lens_name('ridge:{folder}'), 'tiny').sum, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [read_card(folder).tensors_sum, "False"]


def test_a_published_file_has_its_own_sum(tmp_path):
    (tmp_path / "lens.pt").write_bytes(b"some file")
    found = find_lens(LensName("jacobian", str(tmp_path / "lens.pt")), "tiny")
    assert found.card is None
    assert len(found.sum) == 64


def test_another_kind_than_asked_for_is_refused_before_anything_is_loaded(tiny, tmp_path):
    folder = saved_lens(tmp_path / "lens", tiny, "tuned")
    with pytest.raises(LensError, match="holds a tuned lens, and a ridge lens was asked for"):
        find_lens(LensName("ridge", str(folder)), "tiny").card  # noqa: B018


def test_a_published_name_stands_for_a_file_at_a_commit():
    found = find_lens(LensName("jacobian", "gemma-2-9b"), "gemma-2-9b")
    assert not isinstance(found.place, Path)
    assert found.sum == found.place.address
    with pytest.raises(LensError, match="no file or folder 'gemma-2-9b'"):
        find_lens(LensName("ridge", "gemma-2-9b"), "gemma-2-9b")


def test_a_file_here_goes_before_a_published_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("gemma-2-9b").write_text("mine")
    assert find_lens(LensName("jacobian", "gemma-2-9b"), "x").place == tmp_path / "gemma-2-9b"


def test_a_published_lens_is_brought_here_and_read_through(tiny, tmp_path, monkeypatch):
    asked = []

    def download(repo_id, filename, revision):
        asked.append((repo_id, filename, revision))
        torch.save({"J": {b: torch.eye(64) for b in range(3)}, "n_prompts": 1, "d_model": 64}, tmp_path / "it.pt")
        return str(tmp_path / "it.pt")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.warns(LensWarning):
        trace = tiny.trace("The capital of Germany is", lens="jacobian:gemma-2-9b")
    assert trace.lens == "jacobian:gemma-2-9b"
    [(repo_id, filename, revision)] = set(asked)
    assert repo_id == "neuronpedia/jacobian-lens"
    assert filename.startswith("gemma-2-9b/")
    assert len(revision) == 40


def test_without_the_hub_it_is_said_what_to_do(monkeypatch):
    def offline(*_, **__):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(OfflineError, match=r"Or download the lens gemma-2-9b elsewhere \(https://.*: jacobian:PATH\."):
        find_lens(LensName("jacobian", "gemma-2-9b"), "x").fetched()


def test_a_model_without_its_own_lens_is_told_of_a_published_one():
    with pytest.raises(
        LensError, match=r"--method jacobian --out DIR\) and ask for jacobian:DIR, or ask for jacobian:gem"
    ):
        find_lens(LensName("jacobian"), "google/gemma-2-9b")
