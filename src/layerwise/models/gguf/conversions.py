"""What llama.cpp's converter does to tensors, undone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from layerwise.models.gguf.rules import Convert


def halves_of_heads(heads: int | Sequence[int]) -> Convert:
    """Return what puts the rows of queries or keys back in order.

    ggml's plain rotation turns neighbouring rows of a head together, transformers the first half of a
    head with the second, so the rows were interleaved. `heads` counts them, for all blocks or for each.
    """

    def convert(block: int | None, rows: Tensor) -> Tensor:
        count = heads if isinstance(heads, int) else heads[block or 0]
        pairs = rows.reshape(count, rows.shape[0] // count // 2, 2, *rows.shape[1:])
        return pairs.swapaxes(1, 2).reshape(rows.shape)

    return convert


def less_one(_block: int | None, gain: Tensor) -> Tensor:
    """Return the gain of a norm that multiplies by one more than its parameter."""
    return gain - 1


def transposed(_block: int | None, matrix: Tensor) -> Tensor:
    """Return the matrix of a layer that keeps it input by output, as GPT-2's do."""
    return matrix if matrix.dim() == 1 else matrix.T.contiguous()


def one_after_another(_block: int | None, *parts: Tensor) -> Tensor:
    """Return one matrix of several, one's rows under another's."""
    return torch.cat(parts)


def gate_and_up(_block: int | None, gate: Tensor, up: Tensor) -> Tensor:
    """Return experts' gates and ups in one, [expert, row, column]: first the rows of the gate."""
    return torch.cat([gate, up], dim=1)


def as_row(_block: int | None, vector: Tensor) -> Tensor:
    """Return a matrix of one row."""
    return vector.reshape(1, -1)


def with_channel(_block: int | None, kernel: Tensor) -> Tensor:
    """Return the kernel of a convolution over each channel by itself, [channel, 1, step]."""
    return kernel.reshape(kernel.shape[0], 1, -1)  # kernels of one step are stored as a vector


def grouped_heads(heads: int, kv_heads: int) -> Convert:
    """Return what puts queries, keys and values that lie one kind after another back into groups.

    A group has the queries that share a key and a value, then these two: Falcon's and Bloom's order.
    """

    def convert(_block: int | None, rows: Tensor) -> Tensor:
        size = rows.shape[0] // (heads + 2 * kv_heads)
        queries, keys, values = rows.split([heads * size, kv_heads * size, kv_heads * size])

        def grouped(part: Tensor) -> Tensor:
            return part.reshape(kv_heads, -1, *rows.shape[1:])

        return torch.cat([grouped(queries), grouped(keys), grouped(values)], dim=1).reshape(rows.shape)

    return convert
