import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.files import sha256_of
from layerwise.models.checkpoint.checkpoint import Checkpoint, inspect, locate
from layerwise.models.sources.names import Source, resolve

INDEX = "model.safetensors.index.json"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    folder = tmp_path / "whole"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    tensors = {"w": torch.zeros(8, 4, dtype=torch.bfloat16), "norm": torch.ones(4)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def sharded(whole: Path) -> Path:
    (whole / "model.safetensors").unlink()
    save_file({"a": torch.zeros(3)}, whole / "model-00001-of-00002.safetensors")
    save_file({"b": torch.zeros(5)}, whole / "model-00002-of-00002.safetensors")
    write_index(whole, {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"})
    return whole


def write_index(folder: Path, weight_map: Any) -> None:
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def write_header(folder: Path, header: Any, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_facts_of_a_single_file_come_from_its_header(whole: Path):
    facts = inspect(whole)
    assert facts.config == {"model_type": "llama"}
    assert facts.weight_files == (whole / "model.safetensors",)
    assert (facts.weight_bytes, facts.parameters, facts.dtype) == (8 * 4 * 2 + 4 * 4, 36, "bfloat16")


def test_facts_of_shards_are_added_up(sharded: Path):
    facts = inspect(sharded)
    assert [file.name[:11] for file in facts.weight_files] == ["model-00001", "model-00002"]
    assert (facts.weight_bytes, facts.parameters, facts.dtype) == (32, 8, "float32")


@pytest.mark.parametrize("kept", [0, 5, 40, -1])
def test_weights_cut_short_are_refused_with_sizes(whole: Path, kept: int):
    path = whole / "model.safetensors"
    content = path.read_bytes()[:kept]
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match=rf"model\.safetensors.* {len(content)}\. Download it again"):
        inspect(whole)


def test_bytes_after_the_last_tensor_are_refused(whole: Path):
    path = whole / "model.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CorruptFileError, match=f"expected {size} bytes and found {size + 1}"):
        inspect(whole)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"not json", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        ([], "not a JSON object"),
        ({"w": {"dtype": "F32", "shape": [1]}}, "entry for w"),
        ({"w": {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]}}, "entry for w"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": ["0", "4"]}}, "entry for w"),
        ({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "doesn't fill"),
        ({"w": {"dtype": "F32", "shape": [1], "data_offsets": [8, 4]}}, "doesn't fill"),
        ({"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, "expected"),
        ({"__metadata__": {}}, "without any tensor"),
    ],
)
def test_damaged_header_is_refused(whole: Path, header: Any, said: str):
    write_header(whole, header)
    with pytest.raises(CorruptFileError, match=said):
        inspect(whole)


def test_header_longer_than_the_file_is_refused_before_it_is_read(whole: Path):
    (whole / "model.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(CorruptFileError, match=f"should take {2**62} bytes and the file has 10"):
        inspect(whole)


def test_unknown_dtype_keeps_its_name(whole: Path):
    write_header(whole, {"w": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}, b"ab")
    assert inspect(whole).dtype == "f4"


def test_missing_shard_is_named(sharded: Path):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CorruptFileError, match=r"model-00002-of-00002\.safetensors is missing"):
        inspect(sharded)


def test_shard_without_a_promised_tensor_is_named(sharded: Path):
    write_index(sharded, {"a": "model-00001-of-00002.safetensors", "c": "model-00002-of-00002.safetensors"})
    with pytest.raises(CorruptFileError, match="should hold c"):
        inspect(sharded)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "..\\x", "C:\\x", "a/../../x", "", 3, None])
def test_shard_outside_the_folder_is_refused(sharded: Path, name: Any):
    write_index(sharded, {"a": name})
    with pytest.raises(CorruptFileError, match="outside the folder"):
        inspect(sharded)


@pytest.mark.parametrize("weight_map", [None, [], {}, "x"])
def test_index_without_a_map_is_refused(sharded: Path, weight_map: Any):
    write_index(sharded, weight_map)
    with pytest.raises(CorruptFileError, match="no weight_map"):
        inspect(sharded)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "as JSON"),
        ("{", "as JSON"),
        ("[]", "JSON object"),
        ("{}", "model_type"),
        ('{"model_type": 3}', "model_type"),
    ],
)
def test_damaged_config_is_refused(whole: Path, text: str, said: str):
    (whole / "config.json").write_text(text)
    with pytest.raises(CorruptFileError, match=said):
        inspect(whole)


def test_folder_without_config_points_to_the_gguf_file_in_it(whole: Path):
    (whole / "config.json").unlink()
    (whole / "x.gguf").touch()
    with pytest.raises(CorruptFileError, match=r"no config\.json.*x\.gguf"):
        inspect(whole)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth"])
def test_weights_as_pickles_only_are_refused(whole: Path, name: str):
    (whole / "model.safetensors").rename(whole / name)
    with pytest.raises(UnsupportedModelError, match=f"pickles .{name}"):
        inspect(whole)


def test_folder_without_weights_is_refused(whole: Path):
    (whole / "model.safetensors").unlink()
    with pytest.raises(CorruptFileError, match=r"neither model[.]safetensors nor"):
        inspect(whole)


@pytest.mark.parametrize(
    ("names", "enough"),
    [
        (["tokenizer.model"], True),
        (["tokenizer_config.json"], True),
        (["vocab.json", "merges.txt"], True),
        (["vocab.json"], False),
        ([], False),
    ],
)
def test_tokenizer_must_be_there(whole: Path, names: list[str], enough: bool):
    (whole / "tokenizer.json").unlink()
    for name in names:
        (whole / name).touch()
    if enough:
        inspect(whole)
    else:
        with pytest.raises(CorruptFileError, match="no tokenizer"):
            inspect(whole)


def test_folder_is_located_in_place(whole: Path):
    checkpoint = locate(resolve(str(whole)))
    assert checkpoint == Checkpoint(Source(str(whole), "folder", str(whole)), whole, None, None, inspect(whole))


def test_sum_of_a_folder_covers_names_and_bytes(sharded: Path):
    lines = [f"{file.name} {sha256_of(file)}\n" for file in inspect(sharded).weight_files]
    assert locate(resolve(str(sharded))).weights_sum == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_sum_of_a_hub_file_is_the_name_of_its_blob(whole: Path, tmp_path: Path):
    blob = tmp_path / ("ab" * 32)
    (whole / "model.safetensors").rename(blob)
    (whole / "model.safetensors").symlink_to(blob)
    expected = hashlib.sha256(f"model.safetensors {blob.name}\n".encode()).hexdigest()
    assert locate(resolve(str(whole))).weights_sum == expected


def test_a_tekken_tokenizer_alone_is_enough(whole: Path):
    (whole / "tokenizer.json").rename(whole / "tekken.json")
    assert inspect(whole).parameters == 36


def test_a_tensor_in_two_shards_without_a_word_in_the_index_is_refused(sharded: Path):
    for file, name in (("model-00001-of-00002.safetensors", "a"), ("model-00002-of-00002.safetensors", "b")):
        save_file({name: torch.zeros(3), "c": torch.zeros(2)}, sharded / file)
    with pytest.raises(CorruptFileError, match=r"c stands in several weight files .* does not say which"):
        inspect(sharded)


def test_an_adapter_without_its_model_is_refused_with_the_way_out(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    with pytest.raises(UnsupportedModelError, match=r"holds an adapter of org/base .*merge_and_unload\(\)"):
        inspect(tmp_path)
