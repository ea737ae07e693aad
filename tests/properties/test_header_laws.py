"""Laws of weight files' headers: whatever a file holds, it is read as what it is or refused by name.

Nothing else may happen to somebody who opens a file from the internet: no other exception, no hang,
no memory beyond some multiple of the file.
"""

import functools
import json
import math
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models.checkpoint.checkpoint import inspect
from layerwise.models.gguf.gguf_files import open_gguf
from layerwise.models.gguf.header import GgufHeader, read_gguf_header
from layerwise.models.weights.safetensors_header import read_safetensors_header
from layerwise.models.weights.weight_files import StoredTensor

NASTY = [0, 1, 7, 8, 31, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1]
ITEM_SIZES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "int16": 2, "int32": 4, "int64": 8}
ITEM_SIZES |= {"bool": 1, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8, "float8_e4m3fn": 1, "float8_e5m2": 1}

examples = settings(max_examples=250)


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """One folder for a test's examples: Hypothesis runs one function many times."""
    return tmp_path_factory.mktemp("headers")


@functools.cache
def whole_safetensors() -> bytes:
    tensors = {"w": np.ones((3, 5), np.float32), "h": np.ones(7, np.float16), "e": np.ones((0, 2), np.int8)}
    return save(tensors | {"scalar": np.ones((), np.int64)}, metadata={"format": "pt"})


def write_gguf(path: Path, tensors_per_part: int = 0) -> None:
    writer = gguf.GGUFWriter(path, "llama", split_max_tensors=tensors_per_part)
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list(["a", "bc", "", "déf"])
    writer.add_token_types([1, 1, 1, 3])
    writer.add_bool("general.odd", True)
    writer.add_tensor("token_embd.weight", np.ones((4, 32), np.float32))
    packed = gguf.quants.quantize(np.ones((2, 64), np.float32), GGMLQuantizationType.Q4_0)
    writer.add_tensor("blk.0.ffn_up.weight", packed, raw_dtype=GGMLQuantizationType.Q4_0)
    writer.add_tensor("output_norm.weight", np.ones(9, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def whole_gguf(here: Path) -> bytes:
    write_gguf(here / "whole.gguf")
    return (here / "whole.gguf").read_bytes()


def damaged(data: st.DataObject, whole: bytes, header: int) -> bytes:
    """Return a file with up to four changes, most of them in the first `header` bytes."""
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, header) | st.integers(0, len(whole)))
        match data.draw(st.sampled_from(["flip", "cut", "insert", "number", "short number", "delete", "repeat"])):
            case "flip" if at < len(content):
                content[at] ^= data.draw(st.integers(1, 255))
            case "cut":
                del content[at:]
            case "insert":
                content[at:at] = data.draw(st.binary(min_size=1, max_size=12))
            case "number":
                content[at : at + 8] = struct.pack("<Q", data.draw(st.sampled_from(NASTY)))
            case "short number":
                content[at : at + 4] = struct.pack("<I", data.draw(st.sampled_from(NASTY)) & 0xFFFFFFFF)
            case "delete":
                del content[at : at + data.draw(st.integers(1, 16))]
            case "repeat":
                content[at:at] = content[at : at + data.draw(st.integers(1, 200))]
    return bytes(content)


def read_or_refuse(read: Callable[[Path], Any], path: Path) -> Any:
    """Return what `read` returns, or None where it refuses the file by its name."""
    try:
        return read(path)
    except (CorruptFileError, UnsupportedModelError) as error:
        assert path.name in str(error)
        assert len(str(error)) < 2000 + 2 * len(str(path))
        return None


def assert_inside(tensors: Iterable[StoredTensor], path: Path) -> None:
    """Check that every tensor lies in the file, by itself, and is as large as its shape says."""
    end = 8
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.size_bytes)):
        assert tensor.offset >= end, tensor
        end = tensor.offset + tensor.size_bytes
        if tensor.dtype in ITEM_SIZES:
            assert tensor.size_bytes == math.prod(tensor.shape) * ITEM_SIZES[tensor.dtype]
        elif path.suffix == ".gguf":
            block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[tensor.dtype]]
            assert tensor.size_bytes * block == math.prod(tensor.shape) * block_bytes
    assert end <= path.stat().st_size


def check_safetensors(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    tensors = read_or_refuse(read_safetensors_header, path)
    try:
        with safe_open(path, "numpy") as theirs:
            shapes = {name: tuple(theirs.get_slice(name).get_shape()) for name in theirs.keys()}  # noqa: SIM118
    except SafetensorError:
        shapes = None
    if tensors is not None:
        assert_inside(tensors.values(), path)
    if shapes is not None:
        assert tensors is not None, "safetensors reads it"
        assert {name: tensor.shape for name, tensor in tensors.items()} == shapes


def check_gguf(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    header: GgufHeader | None = read_or_refuse(read_gguf_header, path)
    if header is not None:
        assert_inside(header.tensors, path)
        assert header.size_bytes <= len(content)
        assert len({tensor.name for tensor in header.tensors}) == len(header.tensors)
    model = read_or_refuse(open_gguf, path)
    assert model is None or (header is not None and model.header.architecture)


@examples
@given(content=st.binary(max_size=200) | st.binary(max_size=200).map(lambda text: struct.pack("<Q", len(text)) + text))
def test_any_bytes_are_read_or_refused_as_safetensors(here, content):
    check_safetensors(here / "any.safetensors", content)


@examples
@given(content=st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: b"GGUF\x03\0\0\0" + rest))
def test_any_bytes_are_read_or_refused_as_gguf(here, content):
    check_gguf(here / "any.gguf", content)


@examples
@given(data=st.data())
def test_a_damaged_safetensors_file_is_read_or_refused(here, data):
    whole = whole_safetensors()
    check_safetensors(here / "damaged.safetensors", damaged(data, whole, int.from_bytes(whole[:8], "little") + 8))


@settings(max_examples=500)
@given(data=st.data())
def test_a_damaged_gguf_file_is_read_or_refused(here, whole_gguf, data):
    check_gguf(here / "damaged.gguf", damaged(data, whole_gguf, 600))


@given(at=st.integers(0, 600), number=st.sampled_from(NASTY))
@settings(max_examples=600)
def test_a_number_anywhere_in_a_gguf_header_is_read_or_refused(here, whole_gguf, at, number):
    spliced = whole_gguf[:at] + struct.pack("<Q", number) + whole_gguf[at + 8 :]
    check_gguf(here / "spliced.gguf", spliced)


numbers = st.sampled_from([*NASTY, -1, 10**400, 10**4299, True, 1.0, None, "1"]) | st.integers(0, 12)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "U8", "F4", "\x1b[2J" * 99]) | anything,
        "shape": st.lists(numbers, max_size=4) | anything,
        "data_offsets": st.lists(numbers, min_size=2, max_size=2) | anything,
    },
)
headers = st.dictionaries(st.sampled_from(["w", "b", "__metadata__", "\x1b]0;x\x07", "n" * 3000]), entries | anything)


@settings(max_examples=400)
@given(header=headers | anything, size=st.integers(0, 24))
def test_any_json_is_read_or_refused_as_a_safetensors_header(here, header, size):
    text = json.dumps(header).encode()
    check_safetensors(here / "json.safetensors", struct.pack("<Q", len(text)) + text + bytes(size))


@examples
@given(data=st.data())
def test_tensors_laid_out_anyhow_are_read_or_refused(here, data):
    """Offsets and shapes that fit one another more often than drawn ones: holes, overlaps, other orders."""
    header, end = {}, 0
    for name in data.draw(st.lists(st.sampled_from("abcd"), unique=True)):
        shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
        start = end + data.draw(st.sampled_from([0, 0, 0, 0, -1, 1]))
        end = start + math.prod(shape)
        header[name] = {"dtype": "U8", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(dict(data.draw(st.permutations(list(header.items()))))).encode()
    check_safetensors(here / "laid.safetensors", struct.pack("<Q", len(text)) + text + bytes(max(end, 0)))


def gguf_of(keys: int, tensors: int, rest: bytes, architecture: bool = True) -> bytes:
    named = struct.pack("<Q20sIQ5s", 20, b"general.architecture", 8, 5, b"llama") if architecture else b""
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, keys + architecture) + named + rest


def safetensors_of(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def gguf_tensors(count: int) -> bytes:
    return b"".join(struct.pack("<Q6sIQIQ", 6, b"%06d" % i, 1, 1, 24, i) for i in range(count))


MEGABYTE = 1 << 20
NASTIEST: dict[str, tuple[Callable[[Path], Any], Callable[[], bytes]]] = {
    "more keys than there can be": (open_gguf, lambda: gguf_of(2**64 - 2, 0, bytes(MEGABYTE))),
    "more tensors than there can be": (open_gguf, lambda: gguf_of(0, 2**64 - 1, bytes(MEGABYTE))),
    "as many tensors as fit": (open_gguf, lambda: gguf_of(0, 15_000, gguf_tensors(15_000) + bytes(15_064))),
    "as many keys as fit": (
        open_gguf,
        lambda: gguf_of(30_000, 0, b"".join(struct.pack("<Q5sIB", 5, b"%05d" % i, 0, 1) for i in range(30_000))),
    ),
    "a key as long as the file": (open_gguf, lambda: gguf_of(1, 0, struct.pack("<Q", MEGABYTE) + bytes(MEGABYTE))),
    "a tensor's name as long as the file": (
        open_gguf,
        lambda: gguf_of(0, 1, struct.pack("<Q", MEGABYTE) + bytes(MEGABYTE)),
    ),
    "a text as long as the file": (
        open_gguf,
        lambda: gguf_of(1, 0, struct.pack("<Q1sIQ", 1, b"k", 8, MEGABYTE) + "\U0001f40b".encode() * (MEGABYTE // 4)),
    ),
    "an array of 2⁶⁴ texts": (
        open_gguf,
        lambda: gguf_of(1, 0, struct.pack("<Q1sIIQ", 1, b"k", 9, 8, 2**64 - 1) + bytes(MEGABYTE)),
    ),
    "an array of 2⁶⁴ numbers": (
        open_gguf,
        lambda: gguf_of(1, 0, struct.pack("<Q1sIIQ", 1, b"k", 9, 12, 2**64 - 1) + bytes(MEGABYTE)),
    ),
    "a tensor of 2⁵¹² values": (
        open_gguf,
        lambda: gguf_of(0, 1, struct.pack("<Q1sI8QIQ", 1, b"t", 8, *[2**64 - 1] * 8, 0, 2**64 - 1) + bytes(MEGABYTE)),
    ),
    "a header of 2⁶³ bytes": (read_safetensors_header, lambda: struct.pack("<Q", 2**63) + bytes(MEGABYTE)),
    "a deep header": (read_safetensors_header, lambda: safetensors_of(b"[" * MEGABYTE)),
    "a shape of a million sizes": (
        read_safetensors_header,
        lambda: safetensors_of(
            b'{"w":{"dtype":"F32","data_offsets":[0,0],"shape":[' + b"2," * (MEGABYTE // 2) + b"2]}}"
        ),
    ),
    "a shape of long numbers": (
        read_safetensors_header,
        lambda: safetensors_of(
            b'{"w":{"dtype":"F32","data_offsets":[0,0],"shape":[' + (b"9" * 4300 + b",") * 240 + b"2]}}"
        ),
    ),
    "an offset that no longer prints": (
        read_safetensors_header,
        lambda: safetensors_of(b'{"w":{"dtype":"F4","shape":[],"data_offsets":[0,' + b"9" * 4300 + b"]}}"),
    ),
    "a name as long as the header": (
        read_safetensors_header,
        lambda: safetensors_of(json.dumps({"n" * MEGABYTE: {}}).encode()),
    ),
    "as many entries as fit": (
        read_safetensors_header,
        lambda: safetensors_of(
            json.dumps({f"{i}": {"dtype": "U8", "shape": [], "data_offsets": [0, 1]} for i in range(10_000)}).encode()
        ),
    ),
}


@pytest.mark.parametrize("case", NASTIEST)
def test_the_nastiest_headers_take_little_memory_and_time(here, case):
    read, make = NASTIEST[case]
    path = here / ("nasty.gguf" if read is open_gguf else "nasty.safetensors")
    path.write_bytes(make())
    read_or_refuse(read, path)  # what is imported late is not the file's doing
    tracemalloc.start()
    try:
        began = time.process_time()
        read_or_refuse(read, path)
        seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 32 * path.stat().st_size, f"{peak / path.stat().st_size:.1f} times the file"
    assert seconds < 10


def test_a_split_gguf_file_is_its_parts_as_the_gguf_package_writes_them(tmp_path):
    """Only the first part has the metadata."""
    write_gguf(tmp_path / "whole.gguf")
    whole = {name: (t.dtype, t.shape) for name, t in open_gguf(tmp_path / "whole.gguf").tensors.items()}
    write_gguf(tmp_path / "split.gguf", tensors_per_part=1)
    for number in (1, 2, 3):
        model = open_gguf(tmp_path / f"split-{number:05}-of-00003.gguf")
        assert {name: (tensor.dtype, tensor.shape) for name, tensor in model.tensors.items()} == whole
        assert model.header.architecture == "llama"


def tensor(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    return struct.pack(f"<Q{len(name)}sI{len(shape)}QIQ", len(name), name, len(shape), *shape, kind, offset)


NUMBER = struct.pack("<Q1sIB", 1, b"k", 0, 9)
ALIGNED_BY_AN_ARRAY = struct.pack("<Q17sIIQ32s", 17, b"general.alignment", 9, 0, 32, b"")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gguf_of(2, 0, NUMBER * 2), "has k twice"),
        (gguf_of(0, 2, tensor(b"t", (8,)) * 2 + bytes(99)), "two tensors called t"),
        (gguf_of(0, 2, tensor(b"t", (8,)) + tensor(b"u", (8,), offset=28) + bytes(99)), "t and u share bytes"),
        (gguf_of(0, 1, tensor(b"t", (0, 2**63)) + bytes(99)), "t has no values"),
        (gguf_of(0, 1, tensor(b"t", (), kind=2) + bytes(99)), "no whole blocks of 32"),
        (gguf_of(1, 0, ALIGNED_BY_AN_ARRAY), "alignment is an array, expected a power of two"),
        (gguf_of(0, 0, b"", architecture=False), "general.architecture"),
    ],
)
def test_a_gguf_file_that_contradicts_itself_is_refused(tmp_path, content, said):
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(CorruptFileError, match=said):
        open_gguf(tmp_path / "m.gguf")


@settings(max_examples=200)
@given(data=st.data())
def test_a_split_gguf_file_with_a_damaged_part_is_read_or_refused(here, data):
    folder = here / "split"
    if not folder.is_dir():
        folder.mkdir()
        write_gguf(folder / "m.gguf", tensors_per_part=2)
    parts = {path: path.read_bytes() for path in sorted(folder.glob("m-*"))}
    broken = data.draw(st.sampled_from(list(parts)))
    try:
        broken.write_bytes(damaged(data, parts[broken], 400))
        model = None
        try:
            model = open_gguf(data.draw(st.sampled_from(list(parts))))
        except (CorruptFileError, UnsupportedModelError) as error:
            assert "m-0000" in str(error)
        if model:
            for file in model.files:
                assert_inside([tensor for tensor in model.tensors.values() if tensor.file == file], file)
    finally:
        broken.write_bytes(parts[broken])


@pytest.mark.parametrize("count", [0, -1, True, 2.5])
def test_a_part_of_a_number_of_parts_that_cannot_be_is_refused(tmp_path, count):
    kind = {bool: "7?", int: "5i", float: "6f"}[type(count)]
    entry = struct.pack(f"<Q11sI{kind[1]}", 11, b"split.count", int(kind[0]), count)
    path = tmp_path / "m-00001-of-00000.gguf"
    path.write_bytes(gguf_of(1, 0, entry))
    if count in (0, 1):  # put together again; the number 1, oddly written
        assert open_gguf(path).files == (path,)
        return
    with pytest.raises(CorruptFileError, match="m-00001-of-00000"):
        open_gguf(path)


@pytest.fixture(scope="module")
def checkpoint(here: Path) -> Path:
    folder = here / "checkpoint"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    (folder / "a.safetensors").write_bytes(save({"a": np.ones(3, np.float32)}))
    (folder / "b.safetensors").write_bytes(save({"b": np.ones((2, 2), np.float16)}))
    return folder


def check_folder(folder: Path, config: bytes, index: bytes) -> None:
    (folder / "config.json").write_bytes(config)
    (folder / "model.safetensors.index.json").write_bytes(index)
    facts = read_or_refuse(inspect, folder)
    if facts is not None:
        assert {file.parent for file in facts.weight_files} == {folder}
        assert isinstance(facts.config["model_type"], str)
        assert facts.weight_bytes == sum(tensor.size_bytes for tensor in facts.tensors.values())


WHOLE_CONFIG = b'{"model_type": "llama", "hidden_size": 64}'
WHOLE_INDEX = b'{"metadata": {}, "weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}'
shards = st.sampled_from(
    ["a.safetensors", "./b.safetensors", "../checkpoint/a.safetensors", ".", "", "n" * 300, "a\0b", "\ud800", "C:a"]
)


@examples
@given(data=st.data())
def test_a_folder_with_damaged_json_is_read_or_refused(checkpoint, data):
    check_folder(checkpoint, damaged(data, WHOLE_CONFIG, 20), WHOLE_INDEX)
    check_folder(checkpoint, WHOLE_CONFIG, damaged(data, WHOLE_INDEX, 60))


@examples
@given(
    config=st.dictionaries(st.sampled_from(["model_type", "x"]), anything | st.just("llama")) | anything,
    weight_map=st.dictionaries(st.sampled_from("abc"), shards | anything) | anything,
)
def test_a_folder_with_any_json_is_read_or_refused(checkpoint, config, weight_map):
    check_folder(checkpoint, json.dumps(config).encode(), json.dumps({"weight_map": weight_map}).encode())
    check_folder(checkpoint, WHOLE_CONFIG, json.dumps({"weight_map": weight_map}).encode())


@pytest.mark.parametrize("depth", [900, 200_000])
def test_deeply_nested_json_is_refused(checkpoint, depth):
    check_folder(checkpoint, b"[" * depth, WHOLE_INDEX)
    check_folder(checkpoint, WHOLE_CONFIG, b'{"weight_map": {"a": ' + b"[" * depth + b"]" * depth + b"}}")
