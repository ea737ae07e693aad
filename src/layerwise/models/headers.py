"""What weight files say about themselves, checked against their size; no tensor is read.

Sources: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and
https://github.com/huggingface/safetensors#format. The `gguf` package's own reader makes an array
of every vocabulary entry (6 s for Gemma's 262144 tokens, and it slices past the end of a file that
was cut short); this walk takes 0.1 s for the same file.
"""

import json
import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerwise.errors import CorruptFileError
from layerwise.text import harmless

_AGAIN = "Download it again."
_HEADER_LIMIT = 100_000_000  # safetensors' own limit

_GGUF_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_GGUF_STRING, _GGUF_ARRAY = 8, 9

_SAFETENSORS_DTYPES = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "I16": ("int16", 2),
    "U16": ("uint16", 2),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I32": ("int32", 4),
    "U32": ("uint32", 4),
    "F32": ("float32", 4),
    "I64": ("int64", 8),
    "U64": ("uint64", 8),
    "F64": ("float64", 8),
}


@dataclass(frozen=True)
class GgufHeader:
    """A GGUF file's metadata and the names of its tensors."""

    metadata: dict[str, Any]
    """Numbers and strings as they are; for an array, its length."""
    tensors: tuple[str, ...]

    @property
    def architecture(self) -> str:
        """llama.cpp's name for the architecture, such as ``gemma3``."""
        return str(self.metadata["general.architecture"])


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file, by its header."""

    dtype: str
    """As torch spells it, for instance ``bfloat16``."""
    parameters: int
    size_bytes: int


class _Cursor:
    """A place in a mapped GGUF file that moves forward as values are read."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0

    def numbers(self, layout: str) -> tuple[Any, ...]:
        start = self.skip(struct.calcsize("<" + layout))
        return struct.unpack_from("<" + layout, self.data, start)

    def text(self) -> str:
        start = self.skip(self.numbers("Q")[0])
        try:
            return self.data[start : self.at].decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.bad(f"the text at byte {start} is not UTF-8") from error

    def skip(self, count: int) -> int:
        """Move on by `count` bytes and return where the cursor was."""
        start, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise self.bad(f"its header needs at least {self.at} bytes and the file has {len(self.data)}")
        return start

    def bad(self, why: str) -> CorruptFileError:
        return CorruptFileError(f"{harmless(str(self.path))} is not a whole GGUF file: {why}. {_AGAIN}")


def read_gguf_header(path: Path) -> GgufHeader:
    """Return the header of a GGUF file (version 2 or 3), all of whose tensors lie inside the file.

    Raises:
        CorruptFileError: Not GGUF, another version, damaged, or cut short; says what was expected.
    """
    size = path.stat().st_size
    with path.open("rb") as opened:
        start = opened.read(8)
        if start[:4] != b"GGUF" or len(start) < 8:
            raise CorruptFileError(
                f"{harmless(str(path))} is not a GGUF file: it is {size} bytes long and begins with "
                f"{start!r}, where one begins with b'GGUF' and its version. Check that this is the file you mean."
            )
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _walk_gguf(_Cursor(data, path))


def _walk_gguf(cursor: _Cursor) -> GgufHeader:
    _, version, tensor_count, entry_count = cursor.numbers("IIQQ")
    if version not in (2, 3):
        raise cursor.bad(f"its version is {version}, expected 2 or 3 in little-endian order")
    metadata: dict[str, Any] = {}
    for _ in range(entry_count):
        key = cursor.text()
        metadata[key] = _gguf_value(cursor, cursor.numbers("I")[0])
    if not isinstance(metadata.get("general.architecture"), str):
        raise cursor.bad("it doesn't name its general.architecture")
    tensors = [_gguf_tensor(cursor) for _ in range(tensor_count)]
    _check_extent(cursor, tensors, metadata.get("general.alignment", 32))
    return GgufHeader(metadata, tuple(name for name, _, _ in tensors))


def _gguf_value(cursor: _Cursor, kind: int) -> Any:
    if kind in _GGUF_NUMBERS:
        return cursor.numbers(_GGUF_NUMBERS[kind])[0]
    if kind == _GGUF_STRING:
        return cursor.text()
    if kind != _GGUF_ARRAY:
        raise cursor.bad(f"byte {cursor.at} follows an unknown value type, {kind}")
    element, count = cursor.numbers("IQ")
    if element in _GGUF_NUMBERS:
        cursor.skip(count * struct.calcsize("<" + _GGUF_NUMBERS[element]))
    elif element == _GGUF_STRING:
        for _ in range(count):
            cursor.skip(cursor.numbers("Q")[0])
    else:
        raise cursor.bad(f"byte {cursor.at} starts an array of an unknown type, {element}")
    return count


def _gguf_tensor(cursor: _Cursor) -> tuple[str, int, int]:
    """Return a tensor's name, its offset in the data section, and its size in bytes."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    name, (dimensions,) = cursor.text(), cursor.numbers("I")
    if dimensions > 8:  # ggml allows 4
        raise cursor.bad(f"tensor {harmless(name)} has {dimensions} dimensions")
    *shape, kind, offset = cursor.numbers(f"{dimensions}QIQ")
    try:
        block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except (ValueError, KeyError) as error:
        raise cursor.bad(f"tensor {harmless(name)} has the unknown type {kind}") from error
    return name, offset, math.prod(shape) // block * block_bytes


def _check_extent(cursor: _Cursor, tensors: list[tuple[str, int, int]], alignment: Any) -> None:
    if not isinstance(alignment, int) or alignment <= 0 or alignment & (alignment - 1):
        raise cursor.bad(f"its alignment is {alignment}, expected a power of two")
    data_start = -(-cursor.at // alignment) * alignment
    for name, offset, size in tensors:
        end = data_start + offset + size
        if end > len(cursor.data):
            raise cursor.bad(
                f"tensor {harmless(name)} ends at byte {end} and the file has {len(cursor.data)} bytes, so "
                "it was cut short"
            )


def read_safetensors_header(path: Path) -> dict[str, StoredTensor]:
    """Return the tensors of a safetensors file by name, all of which lie inside the file.

    Raises:
        CorruptFileError: Missing, not safetensors, damaged, or cut short; says what was expected.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as opened:
            start = opened.read(8)
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(_HEADER_LIMIT, size - 8):
                raise _bad_safetensors(path, f"its header should take {length} bytes and the file has {size}")
            header = json.loads(opened.read(length))
    except OSError as error:
        raise CorruptFileError(f"{harmless(str(path))} cannot be read: {error.strerror}. {_AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise _bad_safetensors(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _bad_safetensors(path, "its header is not a JSON object")
    header.pop("__metadata__", None)
    tensors, end = {}, 0
    for name, entry in header.items():
        tensors[name], tensor_end = _stored_tensor(path, name, entry)
        end = max(end, tensor_end)
    if size != 8 + length + end:
        raise _bad_safetensors(path, f"expected {8 + length + end} bytes and found {size}")
    return tensors


def _stored_tensor(path: Path, name: str, entry: Any) -> tuple[StoredTensor, int]:
    """Return a header entry as a record, and where its bytes end in the data section."""
    try:
        shape, (start, end) = [int(n) for n in entry["shape"]], entry["data_offsets"]
        dtype, item_size = _SAFETENSORS_DTYPES.get(entry["dtype"], (str(entry["dtype"]).lower(), None))
        parameters = math.prod(shape)
        sane = 0 <= start <= end and (item_size is None or end - start == parameters * item_size)
    except (KeyError, TypeError, ValueError) as error:
        raise _bad_safetensors(path, f"its entry for {harmless(name)} has no dtype, shape and offsets") from error
    if not sane:
        raise _bad_safetensors(path, f"{harmless(name)} ({dtype}, {shape}) doesn't fill bytes {start} to {end}")
    return StoredTensor(dtype, parameters, end - start), end


def _bad_safetensors(path: Path, why: str) -> CorruptFileError:
    return CorruptFileError(f"{harmless(str(path))} is not a whole safetensors file: {why}. {_AGAIN}")
