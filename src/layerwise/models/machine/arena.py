"""Arenas: memory that is taken piece by piece and given back as a whole, of this process or of a file."""

import math
import mmap
import os
import tempfile

import torch
from torch import Tensor

from layerwise.errors import ModelError
from layerwise.models.machine.cache import writing_to_cache
from layerwise.models.machine.device import readable_size

_ALIGNMENT = 64


class Arena:
    """Memory for one block's weights, and anew for the next block's.

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


class ArenaOnDisk(Arena):
    """An arena in a file of the cache folder, which is gone as soon as nobody uses it. Its memory can be given back."""

    def __init__(
        self, size: int, what: str = "Hidden states", advice: str = "Trace fewer prompts or positions at a time"
    ) -> None:
        """Take `size` bytes on disk, all zeros.

        Args:
            size: bytes; a tensor takes as many as `taken_by` says.
            what: for errors, what they are to hold, as a subject in the plural.
            advice: for errors, how less of it would do.

        Raises:
            ModelError: the disk is full, or the cache folder cannot be written.
        """
        with writing_to_cache() as folder, tempfile.TemporaryFile(dir=folder) as file:
            try:
                # Written to through a map, a full disk would end the process without a word.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.truncate(size)
            except OSError as error:
                raise ModelError(
                    f"{what} of {readable_size(size)} exceed the memory that was allowed, and {folder} cannot take "
                    f"them either: {error.strerror}. {advice}, make room there, or give more --memory."
                ) from error
            self._map = mmap.mmap(file.fileno(), size)
        self._bytes, self._used = torch.frombuffer(self._map, dtype=torch.uint8), 0

    @staticmethod
    def taken_by(layout: tuple[tuple[int, ...], torch.dtype]) -> int:
        """Return how many bytes a tensor of this shape and precision takes at most."""
        shape, dtype = layout
        return -(-math.prod(shape) * dtype.itemsize // _ALIGNMENT) * _ALIGNMENT

    def release(self) -> None:
        """Let the system take back the memory of what was written; it is read again when it is used."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
