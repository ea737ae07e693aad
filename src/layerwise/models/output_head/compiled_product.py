"""The product on the CPU, compiled: for few rows and a large unembedding, which libraries are slow at.

A library copies its operands into an order that suits it, which pays for large square matrices. Here
one operand is the unembedding, hundreds of MB of it, and the other a few dozen rows; copying costs
as much as multiplying. So 4 × 3 dot products run side by side, straight from where the weights lie.

Each logit is summed in the same order whatever stands around it: rows give bit for bit the same
alone, together and in any number of threads, and equal unembedding rows give equal logits.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from torch import Tensor

from layerwise.compiled import REASSOCIATED, cache_bytes, run_in_threads

_TOKENS = 4
_ROWS = 3
_TOKENS_TOGETHER = 64
"""Unembedding rows that are multiplied with one block of rows before the next block's turn."""


def multiply(
    rows: Float[Tensor, "row d_model"], weight: Float[Tensor, "token d_model"], out: Float[Tensor, "row token"]
) -> None:
    """Write rows · weightᵀ into `out`. Weights: float32 or bfloat16, at least 4 rows, contiguous."""
    few = len(rows) < _ROWS
    given = _at_least_three(rows) if few else rows.contiguous()
    target = out.new_empty(_ROWS, len(weight)) if few else out
    block = max(_ROWS, cache_bytes() // (2 * 4 * rows.shape[1]) // _ROWS * _ROWS)
    x, z = given.detach().numpy(), target.numpy()
    if weight.dtype == torch.bfloat16:
        bits = weight.detach().view(torch.int16).numpy()
        run_in_threads(lambda a, b: _bfloat16_tokens(bits, x, z, a, b, block), len(weight), _TOKENS_TOGETHER)
    else:
        w = weight.detach().numpy()
        run_in_threads(lambda a, b: _float32_tokens(w, x, z, a, b, block), len(weight), _TOKENS_TOGETHER)
    if few:
        out.copy_(target[: len(rows)])


def _at_least_three(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.new_zeros(_ROWS - len(rows), rows.shape[1])])


@intrinsic
def _raised(_context: Any, bits: Any) -> Any:
    """Return the float32 with the same value as a bfloat16, given as its 16 bits."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        wide = builder.zext(arguments[0], ir.IntType(32))
        return builder.bitcast(builder.shl(wide, ir.Constant(ir.IntType(32), 16)), ir.FloatType())

    return types.float32(types.int16), generate


@njit(nogil=True, cache=True)
def _float32_tokens(weight, rows, out, first, last, block):
    for together in range(first, last, _TOKENS_TOGETHER):
        for start in range(0, len(rows), block):
            for token in range(together, min(together + _TOKENS_TOGETHER, last), _TOKENS):
                at = min(token, len(weight) - _TOKENS)  # the last four overlap those before
                _four_tokens(weight, at, rows, start, min(start + block, len(rows)), out, at)


@njit(nogil=True, cache=True)
def _bfloat16_tokens(bits, rows, out, first, last, block):
    raised = np.empty((_TOKENS_TOGETHER, bits.shape[1]), np.float32)
    for together in range(first, last, _TOKENS_TOGETHER):
        begin = min(together, len(bits) - min(_TOKENS_TOGETHER, len(bits)))
        for token in range(min(_TOKENS_TOGETHER, len(bits))):
            for k in range(bits.shape[1]):
                raised[token, k] = _raised(bits[begin + token, k])  # pyright: ignore[reportCallIssue]
        for start in range(0, len(rows), block):
            for token in range(together, min(together + _TOKENS_TOGETHER, last), _TOKENS):
                at = min(token, len(bits) - _TOKENS)
                _four_tokens(raised, at - begin, rows, start, min(start + block, len(rows)), out, at)


@njit(nogil=True, forceinline=True)
def _four_tokens(weight, token, rows, start, stop, out, column):
    """Multiply four unembedding rows with rows[start:stop], three of those at a time."""
    for row in range(start, stop, _ROWS):
        _dot_products(weight, token, rows, min(row, len(rows) - _ROWS), out, column)


@njit(nogil=True, forceinline=True, fastmath=REASSOCIATED)
def _dot_products(weight, token, rows, row, out, column):
    """Write the 12 dot products of four unembedding rows and three rows: as many as registers hold."""
    s00 = s01 = s02 = s10 = s11 = s12 = s20 = s21 = s22 = s30 = s31 = s32 = np.float32(0)
    for k in range(rows.shape[1]):
        x0, x1, x2 = rows[row, k], rows[row + 1, k], rows[row + 2, k]
        w = weight[token, k]
        s00 += w * x0
        s01 += w * x1
        s02 += w * x2
        w = weight[token + 1, k]
        s10 += w * x0
        s11 += w * x1
        s12 += w * x2
        w = weight[token + 2, k]
        s20 += w * x0
        s21 += w * x1
        s22 += w * x2
        w = weight[token + 3, k]
        s30 += w * x0
        s31 += w * x1
        s32 += w * x2
    out[row, column], out[row + 1, column], out[row + 2, column] = s00, s01, s02
    out[row, column + 1], out[row + 1, column + 1], out[row + 2, column + 1] = s10, s11, s12
    out[row, column + 2], out[row + 1, column + 2], out[row + 2, column + 2] = s20, s21, s22
    out[row, column + 3], out[row + 1, column + 3], out[row + 2, column + 3] = s30, s31, s32
