"""Matrices with a row for each token of the vocabulary, in memory or on disk."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.models.weights.filler import Weights

SLICE = 16 << 20
"""Bytes of a matrix that are read or raised at a time."""


@dataclass(frozen=True, eq=False)
class StoredMatrix:
    """A matrix that is too large to be read whole, or of which few rows are needed."""

    weights: Weights
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.weights.tensors[self.name].shape

    @property
    def dtype(self) -> torch.dtype:
        return self.weights.dtype_of(self.name)

    @property
    def size_bytes(self) -> int:
        """Of the whole, in memory."""
        return self.weights.tensors[self.name].parameters * self.dtype.itemsize

    def whole(self) -> Float[Tensor, "row column"]:
        return self.slice(0, self.shape[0])

    def rows(self, indices: Int[Tensor, " row"]) -> Float[Tensor, "row column"]:
        return torch.cat([self.slice(index, index + 1) for index in indices.tolist()])

    def slice(self, start: int, stop: int) -> Float[Tensor, "row column"]:
        return self.weights.read_rows(self.name, start, stop)


def slices_of(matrix: Tensor | StoredMatrix) -> Iterator[tuple[slice, Float[Tensor, "row column"]]]:
    """Return a matrix as consecutive rows of some 16 MB, and tell which they are."""
    n_rows, n_columns = matrix.shape
    step = max(1, SLICE // (n_columns * matrix.dtype.itemsize))
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        yield slice(start, stop), matrix[start:stop] if isinstance(matrix, Tensor) else matrix.slice(start, stop)
