"""What a safetensors file says about itself, checked against its size; no tensor is read.

Source: https://github.com/huggingface/safetensors#format.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from layerwise.errors import CorruptFileError
from layerwise.models.weights.weight_files import StoredTensor
from layerwise.text import harmless, one_line

_AGAIN = "Download it again."
_HEADER_LIMIT = 100_000_000  # safetensors' own limit
_NUMBER_LIMIT = 1 << 63  # as safetensors, which counts in 64 bits

_DTYPES = {
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
NAMES_OF_DTYPES = {dtype: name for name, (dtype, _) in _DTYPES.items()}
"""What the format calls each of torch's."""


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
    tensors = {name: _stored_tensor(path, name, entry, 8 + length) for name, entry in header.items()}
    end = 8 + length
    for tensor in sorted(tensors.values(), key=lambda tensor: (tensor.offset, tensor.size_bytes)):
        if tensor.offset != end:  # the format allows neither holes nor tensors that share bytes
            where = f"byte {tensor.offset}, and what comes before it ends at byte {end}"
            raise _bad_safetensors(path, f"{one_line(tensor.name)} begins at {where}")
        end += tensor.size_bytes
    if size != end:
        raise _bad_safetensors(path, f"expected {end} bytes and found {size}")
    return tensors


def _stored_tensor(path: Path, name: str, entry: Any, data_start: int) -> StoredTensor:
    try:
        shape, (start, end) = tuple(entry["shape"]), entry["data_offsets"]
        dtype, item_size = _DTYPES.get(entry["dtype"], (str(entry["dtype"]).lower(), None))
        if not all(type(n) is int and 0 <= n < _NUMBER_LIMIT for n in (*shape, start, end)):
            raise ValueError("not a size")
        count = _product(shape)
        sane = start <= end and (item_size is None or end - start == count * item_size)
    except (KeyError, TypeError, ValueError) as error:
        raise _bad_safetensors(path, f"its entry for {one_line(name)} has no dtype, shape and offsets") from error
    if not sane:
        raise _bad_safetensors(
            path, f"{one_line(name)} ({one_line(dtype)}, {list(shape[:8])}) doesn't fill bytes {start} to {end}"
        )
    return StoredTensor(name, path, dtype, shape, data_start + start, end - start)


def _product(shape: Iterable[int]) -> int:
    """Return the number of elements; the product of a hostile shape's millions of sizes would take hours."""
    count = 1
    for size in shape:
        count *= size
        if count >= _NUMBER_LIMIT:
            raise ValueError("more elements than any file has")
    return count


def _bad_safetensors(path: Path, why: str) -> CorruptFileError:
    return CorruptFileError(f"{harmless(str(path))} is not a whole safetensors file: {why}. {_AGAIN}")
