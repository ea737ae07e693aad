"""How exactly float32 numbers are multiplied."""

import contextlib
from collections.abc import Iterator

import torch

PRECISIONS = {"highest": ("ieee", "ieee"), "high": ("tf32", "ieee"), "medium": ("tf32", "bf16")}
"""By the names of `torch.set_float32_matmul_precision`, what CUDA and the processor multiply in; sums are in float32.

A processor without instructions for products of bfloat16 multiplies in float32 all the same.
"""


@contextlib.contextmanager
def matmul_precision(name: str) -> Iterator[None]:
    """Multiply float32 matrices that exactly inside, whatever was set before."""
    backends = [getattr(torch.backends, where).matmul for where in ("cuda", "mkldnn")]  # PyTorch declares no types here
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend, chosen in zip(backends, PRECISIONS[name], strict=True):
            backend.fp32_precision = chosen
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value
