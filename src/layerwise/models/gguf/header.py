"""What a GGUF file says about itself, checked against its size; no tensor is read.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The `gguf` package's own reader
makes an array of every vocabulary entry (6 s for Gemma's 262144 tokens, and it slices past the end
of a file that was cut short); this walk takes 0.1 s for the same file.
"""

import itertools
import math
import mmap
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from layerwise.errors import CorruptFileError
from layerwise.models.weights.weight_files import StoredTensor
from layerwise.text import harmless, one_line

_AGAIN = "Download it again."

_GGUF_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_GGUF_STRING, _GGUF_ARRAY = 8, 9

_LONGEST_NAME = 65_535
"""Bytes: the format's limit for keys."""

_MOST_ENTRIES = 1 << 17
"""Keys, or tensors. Models have thousands; a file that promises more would only fill the memory."""

_PLAIN = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
}
"""ggml's names of types that PyTorch has too."""


class ArrayLength(int):
    """How many entries an array of the metadata has, and where they lie: few are ever needed."""

    element: int
    """The type of its entries, as GGUF numbers them."""
    offset: int
    """Of its first entry in the file."""

    def __new__(cls, count: int, element: int, offset: int) -> "ArrayLength":
        made = super().__new__(cls, count)
        made.element, made.offset = element, offset
        return made


@dataclass(frozen=True)
class GgufHeader:
    """A GGUF file's metadata and its tensors."""

    path: Path
    metadata: dict[str, Any]
    """Numbers and strings as they are; for an array, its `ArrayLength`, with which `array` finds its entries."""
    tensors: tuple[StoredTensor, ...]
    """In the file's order and under its names."""
    size_bytes: int
    """Of all that comes before the tensors."""

    @property
    def architecture(self) -> str:
        """llama.cpp's name for the architecture, such as ``gemma3``; later parts of a split model don't have it."""
        return str(self.metadata["general.architecture"])

    def array(self, key: str) -> list[Any]:
        """Return the entries of an array in the metadata: numbers, or texts; of a single value, that alone.

        Raises:
            CorruptFileError: a text is not UTF-8, or the file was changed since its header was read.
        """
        held = self.metadata[key]
        if not isinstance(held, ArrayLength):
            return [held]
        if not held:
            return []
        with self.path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            cursor = _Cursor(data, self.path)
            cursor.at = held.offset
            if held.element == _GGUF_STRING:
                return [cursor.text() for _ in range(held)]
            return list(cursor.numbers(f"{int(held)}{_GGUF_NUMBERS[held.element]}"))


class _Cursor:
    """A place in a mapped GGUF file that moves forward as values are read."""

    def __init__(self, data: mmap.mmap, path: Path) -> None:
        self.data, self.path, self.at = data, path, 0

    def numbers(self, layout: str) -> tuple[Any, ...]:
        start = self.skip(struct.calcsize("<" + layout))
        return struct.unpack_from("<" + layout, self.data, start)

    def name(self) -> str:
        return self.text(_LONGEST_NAME)

    def text(self, longest: int | None = None) -> str:
        (length,) = self.numbers("Q")
        if longest is not None and length > longest:
            raise self.bad(f"byte {self.at} starts a name of {length} bytes, expected at most {longest}")
        start = self.skip(length)
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

    def skip_texts(self, count: int) -> None:
        """Move on by `count` texts: a vocabulary of hundreds of thousands, so in as few steps as there are."""
        at, length_at = self.at, struct.Struct("<Q").unpack_from
        try:
            for _ in range(count):
                at += 8 + length_at(self.data, at)[0]
        except (struct.error, OverflowError):
            at = len(self.data) + 1
        self.skip(at - self.at)

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
    if max(tensor_count, entry_count) > _MOST_ENTRIES:
        raise cursor.bad(
            f"it promises {entry_count} keys and {tensor_count} tensors, so its header needs at least "
            f"{24 + 13 * entry_count + 24 * tensor_count} bytes; models have at most {_MOST_ENTRIES} of each"
        )
    metadata: dict[str, Any] = {}
    for _ in range(entry_count):
        key = cursor.name()
        if key in metadata:
            raise cursor.bad(f"it has {one_line(key)} twice")
        metadata[key] = _gguf_value(cursor, cursor.numbers("I")[0])
    entries: dict[str, StoredTensor] = {}
    for _ in range(tensor_count):
        entry = _tensor_entry(cursor)
        if entry.name in entries:
            raise cursor.bad(f"it has two tensors called {one_line(entry.name)}")
        entries[entry.name] = entry
    size = cursor.at
    return GgufHeader(
        cursor.path, metadata, _placed(cursor, entries.values(), metadata.get("general.alignment", 32)), size
    )


def _gguf_value(cursor: _Cursor, kind: int) -> Any:
    if kind in _GGUF_NUMBERS:
        return cursor.numbers(_GGUF_NUMBERS[kind])[0]
    if kind == _GGUF_STRING:
        return cursor.text()
    if kind != _GGUF_ARRAY:
        raise cursor.bad(f"byte {cursor.at} follows an unknown value type, {kind}")
    element, count = cursor.numbers("IQ")
    start = cursor.at
    if element in _GGUF_NUMBERS:
        cursor.skip(count * struct.calcsize("<" + _GGUF_NUMBERS[element]))
    elif element == _GGUF_STRING:
        cursor.skip_texts(count)
    else:
        raise cursor.bad(f"byte {cursor.at} starts an array of an unknown type, {element}")
    return ArrayLength(count, element, start)


def _tensor_entry(cursor: _Cursor) -> StoredTensor:
    """Return a tensor as its entry has it, its offset counted from the beginning of the data."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    name, (dimensions,) = cursor.name(), cursor.numbers("I")
    if dimensions > 8:  # ggml allows 4
        raise cursor.bad(f"tensor {one_line(name)} has {dimensions} dimensions")
    *shape, kind, offset = cursor.numbers(f"{dimensions}QIQ")
    try:
        stored = GGMLQuantizationType(kind)
        block, block_bytes = GGML_QUANT_SIZES[stored]
    except (ValueError, KeyError) as error:
        raise cursor.bad(f"tensor {one_line(name)} has the unknown type {kind}") from error
    row = shape[0] if shape else 1
    if row % block:
        raise cursor.bad(f"rows of {row} values in tensor {one_line(name)} are no whole blocks of {block}")
    if 0 in shape:
        raise cursor.bad(f"tensor {one_line(name)} has no values")
    dtype = _PLAIN.get(stored.name, stored.name)
    size = math.prod(shape) // block * block_bytes
    return StoredTensor(name, cursor.path, dtype, tuple(reversed(shape)), offset, size)


def _placed(cursor: _Cursor, entries: Iterable[StoredTensor], alignment: Any) -> tuple[StoredTensor, ...]:
    """Return the tensors with their offsets in the file, inside which they all have to lie, each by itself."""
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        shown = "an array" if isinstance(alignment, ArrayLength) else one_line(str(alignment))
        raise cursor.bad(f"its alignment is {shown}, expected a power of two")
    data_start = -(-cursor.at // alignment) * alignment
    tensors = tuple(replace(entry, offset=data_start + entry.offset) for entry in entries)
    for tensor in tensors:
        end = tensor.offset + tensor.size_bytes
        if end > len(cursor.data):
            raise cursor.bad(
                f"tensor {one_line(tensor.name)} ends at byte {end} and the file has {len(cursor.data)} bytes, so "
                "it was cut short"
            )
    for before, after in itertools.pairwise(sorted(tensors, key=lambda tensor: tensor.offset)):
        if before.offset + before.size_bytes > after.offset:
            raise cursor.bad(f"tensors {one_line(before.name)} and {one_line(after.name)} share bytes")
    return tensors
