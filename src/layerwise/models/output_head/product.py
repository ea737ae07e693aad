"""Rows times an unembedding: the matrix product that a readout consists of, in float32."""

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise import compiled

_CACHES_PER_TILE = 4
"""Unembedding rows multiplied at a time, in second-level caches: their packed copy then stays near."""


def multiply(
    rows: Float[Tensor, "row d_model"], weight: Float[Tensor, "token d_model"], out: Float[Tensor, "row token"]
) -> None:
    """Write rows · weightᵀ into `out`, accumulated and returned in float32 whatever the weights are.

    A product in bfloat16 would also *return* bfloat16: some 3,000 distinct logits for a vocabulary
    of 262,144, hence ties and wrong ranks. So half-precision weights are raised, a tile at a time.
    """
    if _compiled_is_faster(rows, weight, out):
        from layerwise.models.output_head import compiled_product

        compiled_product.multiply(rows, weight, out)
    else:
        multiply_in_tiles(rows, weight, out)


def multiply_in_tiles(rows: Tensor, weight: Tensor, out: Tensor) -> None:
    """Write rows · weightᵀ into `out` with PyTorch's products, a tile of the weights at a time.

    On the CPU each thread multiplies tiles by itself, so that a logit is the same in any number of threads.
    """
    inference = torch.is_inference_mode_enabled()  # each thread has a mode of its own

    def multiply_tile(start: int, stop: int) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            torch.mm(rows, weight[start:stop].float().T, out=out[:, start:stop])

    step = _tile_rows(weight)
    if rows.device.type == "cpu":
        compiled.run_in_threads(multiply_tile, len(weight), step, shared_out=False)
    else:
        for start in range(0, len(weight), step):
            multiply_tile(start, min(start + step, len(weight)))


def _compiled_is_faster(rows: Tensor, weight: Tensor, out: Tensor) -> bool:
    """Return whether the compiled product is there and the faster one, by kind of processor.

    `python -m benchmarks.parts` measures both. With AVX2 it is ahead for any number of rows;
    processors with wider vectors or a matrix unit have PyTorch libraries that use them.
    """
    return (
        rows.device.type == "cpu"
        and compiled.available()
        and torch.backends.cpu.get_cpu_capability() == "AVX2"
        and weight.dtype in (torch.float32, torch.bfloat16)
        and weight.is_contiguous()
        and out.is_contiguous()
        and len(weight) >= 4
    )


def _tile_rows(weight: Tensor) -> int:
    """Return how many unembedding rows to multiply at a time."""
    if weight.device.type != "cpu" and weight.dtype == torch.float32:
        return len(weight)
    return max(1, _CACHES_PER_TILE * compiled.cache_bytes() // (4 * weight.shape[1]))
