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

    top_ids: Int[Tensor, "place row rank"]
    top_logits: Float[Tensor, "place row rank"]
    lse: Float[Tensor, "place row temperature"]
    """log Σ exp(z / T) in float64; the first temperature is 1."""
    entropy_bits: Float[Tensor, "place row"]
    kl_to_final_bits: Float[Tensor, "place row"]
    """KL(P_row ‖ P_last row)."""
    kl_from_final_bits: Float[Tensor, "place row"]
    """KL(P_last row ‖ P_row)."""
    total_variation: Float[Tensor, "place row"]
    """½ Σ |P_row − P_last row|, in [0, 1]."""
    kl_from_base_bits: Float[Tensor, "place row"]
    """KL(P_base ‖ P_row), where rows are compared with base rows; 0 where they are not."""
    target_logits: Float[Tensor, "place row target"]
    target_ranks: Int[Tensor, "place row target"]
    """1 + the number of strictly larger logits."""
    target_ties: Int[Tensor, "place row target"]
    """Other tokens with exactly the target's logit."""
    mass: Float[Tensor, "place row"]
    """Total probability of the place's `mass_ids`."""

    @cached_property
    def top_logprobs(self) -> Float[Tensor, "place row rank"]:
        return (self.top_logits.double() - self.lse[..., :1]).float()

    @cached_property
    def target_logprobs(self) -> Float[Tensor, "place row target"]:
        return (self.target_logits.double() - self.lse[..., :1]).float()

    def rows(self, rows: slice) -> "Readout":
        """Return some of the rows of every place."""
        return Readout(*(values[:, rows] for values in self._fields()))

    def with_room_for(self, n_places: int) -> "Readout":
        """Return a readout of so many places like these, to be filled in."""
        return Readout(*(values.new_empty(n_places, *values.shape[1:]) for values in self._fields()))

    def fill_in(self, places: slice, part: "Readout") -> None:
        """Put another readout's places where these are."""
        for values, new in zip(self._fields(), part._fields(), strict=True):
            values[places] = new

    def _fields(self) -> list[Tensor]:
        return [getattr(self, field.name) for field in fields(Readout)]


@dataclass(frozen=True, eq=False)
class ReadoutPlan:
    """What to read of each place's rows, beside the statistics that need no choice."""

    top_k: int
    """At most the size of the vocabulary."""
    targets: Int[Tensor, "place target"]
    mass_ids: Int[Tensor, "place id"]
    """Filled up with −1 where places differ in number."""
    temperatures: tuple[float, ...]
    """The first is 1."""
    base: tuple[int, ...]
    """Per row, the row that it is compared with: itself where there is nothing to compare."""

    def must_fit(self, shape: Sequence[int]) -> None:
        """Raise IndexError where something is asked for that logits of this shape do not have."""
        n_places, n_rows, vocab_size = shape
        for ids, least in ((self.targets, 0), (self.mass_ids, -1)):
            if len(ids) != n_places:
                raise IndexError(f"Expected ids for {n_places} places; got {len(ids)} lists.")
            if ids.numel() and not least <= int(ids.min()) <= int(ids.max()) < vocab_size:
                raise IndexError(f"Expected ids from 0 to {vocab_size - 1}; got {int(ids.min())} to {int(ids.max())}.")
        if len(self.base) != n_rows or not all(0 <= row < n_rows for row in self.base):
            raise IndexError(f"Expected one of {n_rows} rows for each row to be compared with; got {self.base}.")
        if not 1 <= self.top_k <= vocab_size:
            raise IndexError(f"Expected top_k from 1 to {vocab_size}; got {self.top_k}.")

    @staticmethod
    def of_rows(count: int, top_k: int, temperatures: Sequence[float] = ()) -> "ReadoutPlan":
        """Return what to read of one place of `count` rows, with no tokens to follow."""
        nothing = torch.empty(1, 0, dtype=torch.long)
        return ReadoutPlan(top_k, nothing, nothing, (1.0, *temperatures), tuple(range(count)))

    def of_places(self, places: slice) -> "ReadoutPlan":
        """Return what is wanted of some of the places."""
        return ReadoutPlan(self.top_k, self.targets[places], self.mass_ids[places], self.temperatures, self.base)
