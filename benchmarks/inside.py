"""The only place here that reaches into layerwise: a model's weights, the readout alone, and its parts."""

import re
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

import layerwise as lw
from benchmarks.clock import seconds_of
from layerwise.capture.block_calls import record_block_calls
from layerwise.models.output_head import compiled_product, product
from layerwise.models.weights.weight_files import StoredTensor
from layerwise.readout import compiled_statistics, row_statistics
from layerwise.readout.kernel import read_out
from layerwise.readout.readout import Readout, ReadoutPlan


def hf_model(model: lw.Model) -> Any:
    """Return the transformers model."""
    return model._loaded.hf


def hf_tokenizer(model: lw.Model) -> Any:
    """Return the transformers tokenizer."""
    return model._loaded.tokenizer.hf


def token_ids(model: lw.Model, prompt: str) -> Tensor:
    """Return a prompt's ids as layerwise reads them, [1, position]."""
    return torch.tensor([model._loaded.tokenizer.encode(prompt)])


def unembedding(model: lw.Model) -> Tensor:
    """Return W_U, [token, d_model]."""
    weight = model._loaded.output_head.weight
    assert isinstance(weight, Tensor), "the models compared are in memory"
    return weight


def final_norm(model: lw.Model) -> torch.nn.Module:
    """Return the model's own final norm."""
    return model._loaded.parts.final_norm


def readout(model: lw.Model, states: Tensor) -> Callable[[], object]:
    """Return the readout of states [place, layer, d_model] and nothing else, ready to run."""
    head = model._loaded.output_head
    return lambda: read_out(states, head, rows_of=head.normed, top_k=5)


PRODUCTS: dict[str, Callable[[Tensor, Tensor, Tensor], object]] = {
    "PyTorch": lambda rows, weight, out: torch.mm(rows, weight.T, out=out),
    "PyTorch in tiles": product.multiply_in_tiles,
    "compiled": compiled_product.multiply,
}
"""Ways to multiply rows [row, d_model] with weights [token, d_model] into logits [row, token]."""


def _statistics(read: Callable[[Tensor, ReadoutPlan], Readout]) -> Callable[[Tensor], Readout]:
    """Return a reading of logits [row, token]: five likeliest tokens, one target, all divergences."""

    def run(logits: Tensor) -> Readout:
        target = torch.tensor([[7]])
        return read(logits[None], ReadoutPlan(5, target, target, (1.0,), tuple(range(len(logits)))))

    return run


STATISTICS: dict[str, Callable[[Tensor], Readout]] = {
    "PyTorch": _statistics(row_statistics.read_logits_in_tiles),
    "compiled": _statistics(compiled_statistics.read_logits),
}


def block_seconds(model: lw.Model, ids: Tensor) -> float:
    """Return the time of the first block's own arithmetic on some sequences, its weights in memory."""
    loaded = model._loaded
    hidden, calls = record_block_calls(loaded, ids)
    with loaded.residency.filled(0) as block, torch.no_grad():
        calls[0](block, hidden)
        return median(seconds_of(lambda: calls[0](block, hidden)) for _ in range(3))


def bytes_of_blocks(model: lw.Model) -> int:
    """Return how many bytes a streamed model's blocks take on disk."""
    return sum(tensor.size_bytes for tensors in _blocks(model).values() for tensor in tensors)


def largest_block(model: lw.Model) -> int:
    """Return the bytes of a streamed model's largest block in float32."""
    return max(sum(4 * tensor.parameters for tensor in tensors) for tensors in _blocks(model).values())


def _blocks(model: lw.Model) -> dict[int, list[StoredTensor]]:
    checkpoint = model._loaded.checkpoint
    blocks: dict[int, list[StoredTensor]] = {}
    for name, tensor in (checkpoint.facts.tensors if checkpoint else {}).items():
        if inside := re.search(r"(?:layers|blk)\.(\d+)\.", name):
            blocks.setdefault(int(inside[1]), []).append(tensor)
    return blocks
