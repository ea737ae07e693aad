"""Tensors as they lie in weight files, and reading them a piece at a time."""

import math
import os
import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from layerwise.errors import CorruptFileError
from layerwise.text import harmless


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a weight file, by the file's header."""

    name: str
    file: Path
    dtype: str
    """As torch spells it, for instance ``bfloat16``; in GGUF also ggml's block formats, for instance ``Q4_K``."""
    shape: tuple[int, ...]
    """As PyTorch orders it."""
    offset: int
    """Of its first byte in the file."""
    size_bytes: int

    @property
    def parameters(self) -> int:
        return math.prod(self.shape)


class WeightFiles:
    """Weight files held open, read a piece at a time and watched for change.

    They are read rather than mapped: what is mapped counts as the process's memory, and a mapped
    file that somebody cuts short ends the process without a word.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.bytes_read = 0
        """By this object, so far."""
        self._open = {file: _OpenFile(file) for file in files}
        self._lock = threading.Lock()

    def read(self, tensor: StoredTensor, into: memoryview, start: int = 0) -> None:
        """Fill `into`, writable memory, with a stored tensor's bytes from its byte `start` on.

        Raises:
            CorruptFileError: the file ends too early, or was changed since it was opened.
        """
        memory = into.cast("B")
        with self._lock:
            self._open[tensor.file].read(tensor.offset + start, memory)
            self.bytes_read += len(memory)


class _OpenFile:
    """One file, and what it looked like when it was opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = FileIO(path)
        except OSError as error:
            raise CorruptFileError(f"{harmless(str(path))} cannot be read: {error.strerror}.") from error
        weakref.finalize(self, self._file.close)
        self._identity = self._look()

    def read(self, offset: int, into: memoryview) -> None:
        if self._look() != self._identity:
            raise CorruptFileError(
                f"{harmless(str(self._path))} was changed while it was in use, so its weights may be half old and half "
                "new. Load the model again."
            )
        self._file.seek(offset)
        done = 0
        while done < len(into):
            count = self._file.readinto(into[done:])
            if not count:
                raise CorruptFileError(
                    f"{harmless(str(self._path))} ends at byte {offset + done}, and {len(into) - done} more bytes were "
                    "expected there: it was cut short. Download it again."
                )
            done += count

    def _look(self) -> tuple[int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns
