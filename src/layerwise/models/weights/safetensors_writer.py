"""Writing safetensors files one tensor at a time: what is large would not fit in memory a second time.

Source: https://github.com/huggingface/safetensors#format.
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import torch
from torch import Tensor

from layerwise.models.weights.safetensors_header import NAMES_OF_DTYPES

Layout = Mapping[str, tuple[tuple[int, ...], torch.dtype]]
"""Shape and precision of tensors, by name."""


def layout_of(tensors: Mapping[str, Tensor]) -> Layout:
    """Return the layout of tensors that are in memory."""
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def write_safetensors(opened: BinaryIO, layout: Layout, tensors: Iterable[Tensor]) -> None:
    """Write tensors as the layout says, in its order; each is asked for when the one before it was written."""
    header, end = dict[str, Any](), 0
    for name, (shape, dtype) in layout.items():
        start, end = end, end + math.prod(shape) * dtype.itemsize
        told = NAMES_OF_DTYPES[str(dtype).removeprefix("torch.")]
        header[name] = {"dtype": told, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of 8
    opened.write(len(text).to_bytes(8, "little") + text)
    for (shape, dtype), tensor in zip(layout.values(), tensors, strict=True):
        if (tuple(tensor.shape), tensor.dtype) != (shape, dtype):
            raise ValueError(f"Expected a tensor of {shape} in {dtype}; got {tuple(tensor.shape)} in {tensor.dtype}.")
        opened.write(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
