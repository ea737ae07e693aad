"""The values of tensors in GGUF files: ggml's blocks of quantised numbers, made plain."""

from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from layerwise.errors import UnsupportedModelError
from layerwise.models.weights.weight_files import StoredTensor, WeightFiles

_PIECE = 1 << 19
"""Values dequantised at a time: several copies of them then stay in the cache."""


def values_of(tensor: StoredTensor) -> Tensor:
    """Return a whole tensor in float32, its file opened for that."""
    values = torch.empty(tensor.shape)
    dequantise_rows(WeightFiles([tensor.file]), tensor, 0, values.view(-1, tensor.shape[-1]))
    return values


def dequantise_rows(files: WeightFiles, tensor: StoredTensor, first: int, out: Tensor) -> None:
    """Fill `out`, [row, column], with a tensor's rows from `first` on, some at a time.

    Raises:
        UnsupportedModelError: the `gguf` package cannot dequantise the tensor's type, or it has whole numbers.
        CorruptFileError: the file ends too early, or was changed since it was opened.
    """
    values = out.view(-1)
    row_bytes = tensor.size_bytes * tensor.shape[-1] // tensor.parameters
    step = max(1, _PIECE // out.shape[1])
    raw = np.empty(min(step, len(out)) * row_bytes, dtype=np.uint8)
    for start in range(0, len(out), step):
        part = raw[: (len(out) - start) * row_bytes]
        files.read(tensor, part.data, (first + start) * row_bytes)
        made = _dequantised(part, tensor.dtype)
        values[start * out.shape[1] :][: len(made)] = made


def _dequantised(raw: np.ndarray, dtype: str) -> Tensor:
    """Return the values of blocks, one after another, in float32.

    By transformers where it knows the blocks, up to five times as fast as the `gguf` package and with
    the same bits, else by the latter.
    """
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize
    from transformers.integrations.gguf import dequant

    if dtype in ("float64", "float32", "float16"):
        return torch.from_numpy(raw.view(dtype)).float()
    if dtype.startswith("int"):
        raise UnsupportedModelError(
            f"The GGUF file has weights stored as whole numbers ({dtype}), which no model has there: it was edited. "
            "Use the model's safetensors checkpoint."
        )
    kind = GGMLQuantizationType["BF16" if dtype == "bfloat16" else dtype]
    one_row = raw.reshape(1, -1)  # the package works row by row, and is slow for many
    if kind in dequant.GGML_BLOCK:
        return dequant.dequantize(torch.from_numpy(one_row), kind.value).flatten()
    try:
        return torch.from_numpy(dequantize(one_row, kind)).flatten()
    except NotImplementedError as error:
        raise UnsupportedModelError(
            f"The GGUF file has tensors stored as {kind.name}, which the gguf package {version('gguf')} cannot "
            "dequantise. Use a file in another quantisation, or the model's safetensors checkpoint."
        ) from error
