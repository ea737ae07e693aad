"""What to read of rows of logits, and what comes of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

BITS = 1 / math.log(2)
"""Bits in a nat."""


@dataclass(frozen=True, eq=False)
class Readout:
    """What the vocabulary says, per row, on the CPU. Natural logarithms unless the name says bits."""

    top_ids: Int[Tensor, "group row rank"]
    top_logits: Float[Tensor, "group row rank"]
    lse: Float[Tensor, "group row temperature"]
    """log Σ exp(z / T) in float64; the first temperature is 1."""
    entropy_bits: Float[Tensor, "group row"]
    kl_to_final_bits: Float[Tensor, "group row"]
    """KL(P_row ‖ P_last row)."""
    kl_from_final_bits: Float[Tensor, "group row"]
    """KL(P_last row ‖ P_row)."""
    total_variation: Float[Tensor, "group row"]
    """½ Σ |P_row − P_last row|, in [0, 1]."""
    kl_from_base_bits: Float[Tensor, "group row"]
    """KL(P_base ‖ P_row), where rows are compared with base rows; 0 where they are not."""
    target_logits: Float[Tensor, "group row target"]
    target_ranks: Int[Tensor, "group row target"]
    """1 + the number of strictly larger logits."""
    target_ties: Int[Tensor, "group row target"]
    """Other tokens with exactly the target's logit."""
    mass: Float[Tensor, "group row"]
    """Total probability of the group's `mass_ids`."""

    @cached_property
    def top_logprobs(self) -> Float[Tensor, "group row rank"]:
        return (self.top_logits.double() - self.lse[..., :1]).float()

    @cached_property
    def target_logprobs(self) -> Float[Tensor, "group row target"]:
        return (self.target_logits.double() - self.lse[..., :1]).float()

    def rows(self, rows: slice) -> "Readout":
        """Return some of the rows of every group."""
        return Readout(*(values[:, rows] for values in self._fields()))

    def with_room_for(self, n_groups: int) -> "Readout":
        """Return a readout of so many groups like these, to be filled in."""
        return Readout(*(values.new_empty(n_groups, *values.shape[1:]) for values in self._fields()))

    def fill_in(self, groups: slice, part: "Readout") -> None:
        """Put another readout's groups in the place of these."""
        for values, new in zip(self._fields(), part._fields(), strict=True):
            values[groups] = new

    def _fields(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(Readout)]


@dataclass(frozen=True, eq=False)
class ReadoutPlan:
    """What to read of each group's rows, beside the statistics that need no choice."""

    top_k: int
    """At most the size of the vocabulary."""
    targets: Int[Tensor, "group target"]
    mass_ids: Int[Tensor, "group id"]
    """Filled up with −1 where groups differ in number."""
    temperatures: tuple[float, ...]
    """The first is 1."""
    base: tuple[int, ...]
    """Per row, the row that it is compared with: itself where there is nothing to compare."""

    def must_fit(self, shape: Sequence[int]) -> None:
        """Raise IndexError where something is asked for that logits of this shape do not have."""
        n_groups, n_rows, vocab_size = shape
        for ids, least in ((self.targets, 0), (self.mass_ids, -1)):
            if len(ids) != n_groups:
                raise IndexError(f"Expected ids for {n_groups} groups; got {len(ids)} lists.")
            if ids.numel() and not least <= int(ids.min()) <= int(ids.max()) < vocab_size:
                raise IndexError(f"Expected ids from 0 to {vocab_size - 1}; got {int(ids.min())} to {int(ids.max())}.")
        if len(self.base) != n_rows or not all(0 <= row < n_rows for row in self.base):
            raise IndexError(f"Expected one of {n_rows} rows for each row to be compared with; got {self.base}.")
        if not 1 <= self.top_k <= vocab_size:
            raise IndexError(f"Expected top_k from 1 to {vocab_size}; got {self.top_k}.")

    @staticmethod
    def of_rows(count: int, top_k: int, temperatures: Sequence[float] = ()) -> "ReadoutPlan":
        """Return what to read of one group of `count` rows, with no tokens to follow."""
        nothing = torch.empty(1, 0, dtype=torch.long)
        return ReadoutPlan(top_k, nothing, nothing, (1.0, *temperatures), tuple(range(count)))

    def of_groups(self, groups: slice) -> "ReadoutPlan":
        """Return what is wanted of some of the groups."""
        return ReadoutPlan(self.top_k, self.targets[groups], self.mass_ids[groups], self.temperatures, self.base)
