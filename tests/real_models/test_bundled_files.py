"""The bundled models' files, fetched and prepared in the default cache."""

import functools
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
import transformers

from layerwise.files import sha256_of
from layerwise.models.checkpoint.checkpoint import locate
from layerwise.models.sources import bundled
from layerwise.models.sources.names import resolve


@pytest.mark.parametrize("name", list(bundled.BUNDLED))
def test_pulled_file_has_the_known_sum(name: str):
    assert sha256_of(bundled.pull(name)) == bundled.BUNDLED[name].sha256


@pytest.mark.parametrize("name", list(bundled.BUNDLED))
def test_second_preparation_returns_at_once_and_touches_nothing(name: str):
    model, checkpoint = bundled.BUNDLED[name], locate(resolve(name))
    assert checkpoint.facts.config["architectures"] == [model.architecture]
    assert checkpoint.facts.config["num_hidden_layers"] == model.layers
    assert checkpoint.weights_sum == model.sha256
    before = modified(checkpoint.folder)
    assert locate(resolve(name)).folder == checkpoint.folder
    assert modified(checkpoint.folder) == before


@pytest.fixture
def read_once(monkeypatch):
    """Lets transformers keep what its reader finds in a file, which it reads for the config and for the weights."""
    memmap = np.memmap
    monkeypatch.setattr(np, "memmap", lambda *args, **how: np.asarray(memmap(*args, **how)))  # millions of slices
    monkeypatch.setattr(gguf, "GGUFReader", functools.cache(gguf.GGUFReader))


def test_a_bundled_model_is_what_transformers_makes_of_its_file(bundled_model, read_once):
    """Every weight, bit for bit: ours are dequantised piece by piece, theirs whole."""
    file = bundled.bundled_file(bundled_model.info.name)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    expected = theirs.state_dict()
    for name, weight in bundled_model._loaded.hf.state_dict().items():
        assert torch.equal(weight, expected[name]), name


def modified(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
