"""The only place here that reaches into layerwise: a model's weights, the readout alone, and its parts."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import layerwise as lw
from layerwise.models import compiled_product, product
from layerwise.readout import compiled_statistics, statistics
from layerwise.readout.kernel import read_out
from layerwise.readout.statistics import Readout, Wanted


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
    weight = model._loaded.head.weight
    assert isinstance(weight, Tensor), "the models compared are in memory"
    return weight


def final_norm(model: lw.Model) -> torch.nn.Module:
    """Return the model's own final norm."""
    return model._loaded.parts.final_norm


def readout(model: lw.Model, states: Tensor) -> Callable[[], object]:
    """Return the readout of states [group, layer, d_model] and nothing else, ready to run."""
    head = model._loaded.head
    return lambda: read_out(states, head, rows_of=head.normed, top_k=5)


PRODUCTS: dict[str, Callable[[Tensor, Tensor, Tensor], object]] = {
    "PyTorch": lambda rows, weight, out: torch.mm(rows, weight.T, out=out),
    "PyTorch in tiles": product.multiply_in_tiles,
    "compiled": compiled_product.multiply,
}
"""Ways to multiply rows [row, d_model] with weights [token, d_model] into logits [row, token]."""


def _statistics(read: Callable[[Tensor, Wanted], Readout]) -> Callable[[Tensor], Readout]:
    """Return a reading of logits [row, token]: five likeliest tokens, one target, all divergences."""

    def run(logits: Tensor) -> Readout:
        target = torch.tensor([[7]])
        return read(logits[None], Wanted(5, target, target, (1.0,), tuple(range(len(logits)))))

    return run


STATISTICS: dict[str, Callable[[Tensor], Readout]] = {
    "PyTorch": _statistics(statistics.read_logits_in_tiles),
    "compiled": _statistics(compiled_statistics.read_logits),
}
