"""A streamed model gives what the same model gives that is in memory, and reads its weights once for it."""

import dataclasses
import importlib.util
import json
import os
import re
from typing import Any

import pytest
import torch

import layerwise as lw
from benchmarks.tiny import always_streamed
from layerwise.capture import sweep
from layerwise.capture.shared_beginnings import is_as_made
from layerwise.errors import (
    CorruptFileError,
    DoesNotFitError,
    MissingDependencyError,
    ModelError,
    UnsupportedModelError,
)
from layerwise.models.machine.arena import ArenaOnDisk
from layerwise.models.machine.device import bytes_of, used_memory
from layerwise.models.residency import assembly
from layerwise.models.weights import matrix
from layerwise.models.weights.matrix import StoredMatrix

PROMPTS = ["The capital of Germany is", "2 + 2 =", "Once upon a time a king lived in a castle by the river"]


def streamed(folder, **kwargs) -> Any:
    """Return a folder's model streamed, however small it is."""
    with always_streamed():
        return lw.load(folder, device="cpu", **kwargs)


@pytest.fixture
def saved(tmp_path, fresh_parts):
    """A small random model in one file, to be tampered with."""
    for part in fresh_parts("qwen3"):
        part.save_pretrained(tmp_path)
    return tmp_path


def set_in_config(folder, **settings):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))


@pytest.fixture(params=["qwen3", "llama3", "mistral", "gemma2"])
def folder(request, family_folder):
    return family_folder(request.param)


def same(one: lw.Trace, other: lw.Trace) -> bool:
    first, second = one.to_frame(), other.to_frame()
    return first.equals(second)


def test_streamed_gives_the_same_bits(folder):
    fed, whole = streamed(folder), lw.load(folder, device="cpu")
    for prompt in PROMPTS:
        assert same(
            fed.trace(prompt, answer=" Berlin", positions="all"), whole.trace(prompt, answer=" Berlin", positions="all")
        )


def test_a_sweep_reads_each_byte_of_the_blocks_once(folder):
    fed = streamed(folder)
    stored = fed._loaded.checkpoint.facts.tensors.values()
    blocks = sum(tensor.size_bytes for tensor in stored if ".layers." in tensor.name)
    for again in range(3):
        before = fed.bytes_read
        fed.trace_all([lw.Request(prompt) for prompt in PROMPTS])
        read = fed.bytes_read - before
        assert read < blocks * 1.05 + 50_000  # and the rows of the embedding table
        assert read >= blocks or again == 0, "only the first goes on with blocks that loading has read"


def test_what_feeds_it_is_no_change_to_the_model(folder):
    """Else nothing that prompts or copies of a text have in common would be computed once."""
    assert is_as_made(streamed(folder)._loaded.hf)
    changed = streamed(folder)._loaded.hf
    changed.get_input_embeddings().register_forward_hook(lambda *_: None)
    assert not is_as_made(changed)


def test_it_generates_what_the_whole_model_does(folder):
    fed, whole = streamed(folder), lw.load(folder, device="cpu")
    assert fed.trace(PROMPTS[0], generate=3).generated == whole.trace(PROMPTS[0], generate=3).generated


def test_only_the_blocks_in_use_have_weights(folder):
    fed = streamed(folder)._loaded
    for index in range(fed.n_layers):
        with fed.residency.filled(index) as block:
            assert not any(parameter.is_meta for parameter in block.parameters())
            there = [not next(each.parameters()).is_meta for each in fed.parts.blocks]
            assert sum(there) <= 2


def test_an_unembedding_that_does_not_fit_is_read_in_slices(folder, monkeypatch):
    plan = assembly._plan
    monkeypatch.setattr(
        assembly, "_plan", lambda *a, **k: dataclasses.replace(plan(*a, **k), arenas=1, head_fits=False)
    )
    monkeypatch.setattr(matrix, "SLICE", 10_000)
    fed = streamed(folder)
    whole = lw.load(folder, device="cpu")
    assert isinstance(fed._loaded.output_head.weight, StoredMatrix)
    ours, theirs = (model.trace(PROMPTS[0], positions="all").to_frame() for model in (fed, whole))
    assert (ours.top_id == theirs.top_id).all()
    assert (ours.entropy_bits - theirs.entropy_bits).abs().max() < 1e-4


def test_a_budget_below_one_block_says_the_smallest_that_works(folder):
    budget = used_memory() // 2
    with pytest.raises(DoesNotFitError, match=r"too small to stream.*at least --memory \d+\.\dGB") as said:
        streamed(folder, memory=budget)
    advised = re.search(r"--memory (\S+GB)", str(said.value))
    assert advised
    assert streamed(folder, memory=advised[1]).trace(PROMPTS[0]), "what is advised works"


def test_a_weight_that_is_in_no_file_is_named(saved):
    from safetensors.torch import load_file, save_file

    tensors = load_file(saved / "model.safetensors")
    del tensors["model.layers.2.mlp.up_proj.weight"]
    save_file(tensors, saved / "model.safetensors")
    with pytest.raises(CorruptFileError, match=r"model.layers.2 needs .*mlp.up_proj.weight"):
        streamed(saved).trace(PROMPTS[0])


def test_shapes_that_disagree_with_the_configuration_are_named(saved):
    set_in_config(saved, intermediate_size=128)
    with pytest.raises(CorruptFileError, match=r"mlp.*has shape .*96.*128"):
        streamed(saved).trace(PROMPTS[0])


def test_a_file_that_is_changed_meanwhile_stops_the_run(saved):
    fed = streamed(saved)
    fed.trace(PROMPTS[0])
    whole = (saved / "model.safetensors").read_bytes()
    with (saved / "model.safetensors").open("r+b") as weights:
        weights.truncate(len(whole) // 2)
    with pytest.raises(CorruptFileError, match=r"was changed while it was in use"):
        fed.trace(PROMPTS[0])


def test_the_bridge_says_that_it_needs_the_whole_model(folder):
    with pytest.raises(ModelError, match=r"needs all of .* in memory"):
        _ = streamed(folder).bridge


def test_half_precision_is_streamed_as_it_is_run_in_memory_to_its_rounding(folder):
    """Processors with units for bfloat16 multiply matrices by kernels that depend on how the weights lie in memory,
    and each rounds its sums to 8 bits. So the likeliest tokens are the same only where the gap is wider than that.
    """
    fed = streamed(folder, dtype="bfloat16")
    whole = lw.load(folder, device="cpu", dtype="bfloat16")
    assert fed.info.dtype == "bfloat16"
    one, other = (model.trace(PROMPTS[0], top_k=2) for model in (fed, whole))
    # A rounding to 8 bits after each of a block's two sums, at each layer, relative to the largest log-probability.
    slack = 2 * one.n_layers * 2.0**-8 * abs(other.top_logprobs).max()
    assert abs(one.top_logprobs - other.top_logprobs).max() <= slack
    clear = other.top_logprobs[..., 0] - other.top_logprobs[..., 1] > 2 * slack
    assert (one.top_ids[..., 0] == other.top_ids[..., 0])[clear].all()
    # What enters the first block went through no matrix, and is the same bit for bit.
    assert (one.residual_norm[0] == other.residual_norm[0]).all()


@pytest.mark.parametrize(
    ("written", "size"),
    [("4GB", 4 * 10**9), ("512 mb", 512 * 10**6), ("1.5GiB", 3 * 2**29), ("1000", 1000), (7, 7), ("auto", None)],
)
def test_memory_as_people_write_it(written, size):
    assert bytes_of(written) == size


@pytest.mark.parametrize("written", ["", "4 apples", "-1GB", "0", "GB"])
def test_memory_that_cannot_be_read_is_refused(written):
    with pytest.raises(ModelError, match=r"Expected memory"):
        bytes_of(written)


def test_states_that_outgrow_the_budget_lie_on_disk_and_change_no_number(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path))
    fed, whole = streamed(folder), lw.load(folder, device="cpu")
    fed._loaded.residency.bytes_for_states = 1000
    made = []
    monkeypatch.setattr(sweep, "ArenaOnDisk", lambda size: made.append(size) or ArenaOnDisk(size))
    for positions in ("last", "all"):
        ours, theirs = (m.trace_all([lw.Request(p, positions=positions) for p in PROMPTS]) for m in (fed, whole))
        assert all(same(one[0], other[0]) for one, other in zip(ours, theirs, strict=True))
    assert len(made) == 3, "one for each sweep: the causality check's too"
    assert [file.name for file in tmp_path.iterdir()] == ["sums.json"], "the others are gone"


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room on disk")
def test_a_disk_without_room_for_the_states_is_named(folder):
    fed = streamed(folder)
    with pytest.raises(ModelError, match=r"Hidden states of .* exceed the memory .*give more --memory"):
        ArenaOnDisk(2**62)
    assert fed.trace(PROMPTS[0]).tokens


def test_packed_weights_are_not_streamed_as_if_they_were_plain_numbers(saved):
    from safetensors.torch import load_file, save_file

    tensors = load_file(saved / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file(tensors | {name: tensors[name].to(torch.int8)}, saved / "model.safetensors")
    with pytest.raises(UnsupportedModelError, match=r"up_proj.weight is stored as int8.*packed"):
        streamed(saved)
    set_in_config(saved, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(UnsupportedModelError, match=r"quantised with bitsandbytes.*cannot be streamed"):
        streamed(saved)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed here")
def test_a_package_that_unpacks_weights_and_is_missing_is_named(saved):
    set_in_config(saved, quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    with pytest.raises(MissingDependencyError, match=r"needs another package.*bitsandbytes"):
        lw.load(saved, device="cpu")
