"""What a layout is, and the changes of tensors that several share."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from benchmarks.gguf import keys as k
from benchmarks.gguf.keys import Keys, Settings

Parts = dict[str, Tensor]
"""Tensors by the names that the `gguf` package knows from published checkpoints."""
Change = Callable[[str, Tensor, Settings], Parts]


@dataclass(frozen=True)
class Layout:
    """How an architecture's checkpoints are laid out in a file."""

    keys: Callable[[Settings], Keys] = k.usual
    changes: dict[str, Change] = field(default_factory=dict)
    """By the end of a tensor's name, less `.weight` or `.bias`; the first that fits is taken."""
    extra: Callable[[Settings], Parts] = lambda c: {}
    """Tensors that the settings make, by their names in the file."""
    drop: tuple[str, ...] = ()
    """Ends of names that are left out."""
    before: Callable[[Parts, Settings], Parts] = lambda tensors, c: tensors
    """What is done to all tensors at once, first."""


def keep(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return the tensor as it is."""
    return {name: tensor}


def plus_one(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return a gain that the model adds 1 to, with 1 added; a bias as it is."""
    return {name: tensor + 1 if name.endswith(".weight") else tensor}


def transposed(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return a `Conv1D`'s weight [in, out] as [out, in]; its bias as it is."""
    return {name: tensor.T if tensor.dim() == 2 else tensor}


def squeezed(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return a convolution's weight [channel, 1, width] without the axis between; its bias as it is."""
    return {name: tensor.squeeze(1) if tensor.dim() == 3 else tensor}


def bare(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return a convolution's weight [channel, 1, width] without any axis of one; its bias as it is."""
    return {name: tensor.squeeze()}


def as_weight(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return a parameter of no module of its own under the name of a weight."""
    return {f"{name}.weight": tensor}


def decay(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return the rates of decay themselves, whose logarithms the model has."""
    return {name: -tensor.exp()}


def gate_and_up(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return the experts' first matrices [expert, gate | up, in] as two."""
    gate, up = tensor.chunk(2, dim=1)
    named = name.removesuffix("gate_up_proj")
    return {f"{named}gate_proj.weight": gate, f"{named}up_proj.weight": up}


def query_heads(c: Settings) -> int:
    """Return the number of heads of queries."""
    return c["num_attention_heads"]


def key_heads(c: Settings) -> int:
    """Return the number of heads of keys."""
    return k.first(c, "num_key_value_heads", "num_attention_heads")


def halves_to_pairs(heads: Callable[[Settings], int]) -> Change:
    """Return a change that puts the two halves of each head, which rotate together, side by side."""

    def change(name: str, tensor: Tensor, c: Settings) -> Parts:
        by_half = tensor.unflatten(0, (heads(c), 2, -1))
        return {name: by_half.transpose(1, 2).flatten(0, 2)}

    return change


def parts_together(name: str, tensor: Tensor, c: Settings) -> Parts:
    """Return query, key and value of [head, part, row] as [part, head, row]."""
    heads = k.first(c, "num_attention_heads", "n_head")
    return {name: tensor.unflatten(0, (heads, 3, -1)).transpose(0, 1).flatten(0, 2)}


def without(prefix: str) -> Callable[[Parts, Settings], Parts]:
    """Return what takes a prefix off all names."""
    return lambda tensors, c: {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def stacked(tensors: Parts, c: Settings) -> Parts:
    """Return the tensors with the norms that are numbered by head put together, in their order."""
    found: dict[str, list[Tensor]] = {}
    for name, tensor in tensors.items():
        found.setdefault(re.sub(r"\.norms\.\d+\.", ".", name), []).append(tensor)
    return {name: each[0] if len(each) == 1 else torch.stack(each) for name, each in found.items()}


def rope_factors(c: Settings) -> Parts:
    """Return Llama 3's factors, where the settings ask for them."""
    factors = k.llama3_factors(c)
    return {} if factors is None else {"rope_freqs.weight": torch.tensor(factors)}


PAIRED = {"self_attn.q_proj": halves_to_pairs(query_heads), "self_attn.k_proj": halves_to_pairs(key_heads)}
EXPERTS = {"experts.gate_up_proj": gate_and_up, "experts.down_proj": as_weight}
