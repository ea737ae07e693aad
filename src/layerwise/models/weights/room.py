"""Memory for the weights of one block after another."""

import math

import torch
from torch import Tensor

_ALIGNMENT = 64


class Room:
    """Memory that is taken piece by piece, and all of it anew for the next block.

    Fresh memory has to be cleared by the system first, which takes as long as reading a block does.
    """

    def __init__(self, size: int = 0) -> None:
        """Start with `size` bytes; what doesn't fit gets memory of its own."""
        self._bytes = torch.empty(size, dtype=torch.uint8)
        self._used = 0

    def clear(self) -> None:
        """Give everything back; tensors that were taken before will be overwritten."""
        self._used = 0

    def take(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return an uninitialised tensor on the CPU."""
        size = math.prod(shape) * dtype.itemsize
        start = -(-self._used // _ALIGNMENT) * _ALIGNMENT
        if start + size > len(self._bytes):
            return torch.empty(shape, dtype=dtype)
        self._used = start + size
        return self._bytes[start : start + size].view(dtype).view(shape)
