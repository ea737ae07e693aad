"""One block: the sites that it has, those that it lacks, and the sums that its values must obey."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from layerwise.models.anatomy.block_taps import more_than_parts, taps_of
from layerwise.models.anatomy.tap import Tap
from layerwise.sites import KINDS

_GOVERNED = ("resid_mid", "attn_out", "mlp_out")
"""Kinds that a law must confirm: that a module is there doesn't say what happens to the stream."""

_ROUNDINGS = 4
"""How many times a sum of three parts may have been rounded, here and in the block, in either's order."""


@dataclass(frozen=True)
class Law:
    """The values of one kind are the sum of others' values."""

    total: str
    parts: tuple[str, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        return (self.total, *self.parts)

    def is_about(self, kinds: Collection[str]) -> bool:
        """Return whether it confirms any of some kinds."""
        return any(kind in _GOVERNED and kind in self.kinds for kind in kinds)

    def holds(self, values: dict[str, Tensor]) -> bool:
        """Return whether the values are such a sum within rounding; where they are not finite, nothing is compared."""
        total, parts = values[self.total], [values[part] for part in self.parts]
        if any(part.shape != total.shape for part in parts):
            return False
        epsilon = max(torch.finfo(each.dtype).eps for each in (total, *parts))
        stacked = torch.stack([part.float() for part in parts])
        error = (total.float() - stacked.sum(0)).abs()
        return not bool(((error > _ROUNDINGS * epsilon * stacked.abs().sum(0)) & total.isfinite()).any())


class BlockAnatomy:
    """Where each kind of site is in a block, and which of the laws its values have been seen to obey."""

    def __init__(self, taps: dict[str, Tap], lacks: dict[str, str]) -> None:
        """Take the taps by kind, and why other kinds cannot be read, even if they could be tapped."""
        self.taps, self.lacks = taps, lacks
        self.laws = _laws(taps, lacks)
        self.unchecked = list(self.laws)
        """Those that no run was compared with yet."""
        self.unproven = {kind: [law for law in self.laws if kind in law.parts] for kind in _GOVERNED}
        """By kind, the laws that say that a change of its values reaches the stream, until a run was compared."""
        self.changed: frozenset[str] = frozenset()
        """Kinds whose values are being replaced: a sum that makes one of them is another's."""
        self.is_known_causal = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that can be read, in the order of `KINDS`."""
        return tuple(kind for kind in KINDS if kind not in self.lacks)


def anatomy_of(block: nn.Module) -> BlockAnatomy:
    """Return a block's anatomy, from the names of its modules and a few facts about families."""
    found = taps_of(block)
    taps = {kind: tap for kind, tap in found.items() if isinstance(tap, Tap)}
    lacks = {kind: reason for kind, reason in found.items() if isinstance(reason, str)}
    if reason := more_than_parts(block):
        lacks |= {"attn_out": reason, "mlp_out": reason}
    governed = {kind for law in _laws(taps, lacks) for kind in law.kinds}
    unsure = f"what the parts of {type(block).__name__} add up to is not known, so nothing tells whether it is right"
    return BlockAnatomy(taps, lacks | {kind: lacks.get(kind, unsure) for kind in _GOVERNED if kind not in governed})


def _laws(taps: Collection[str], lacks: Collection[str]) -> list[Law]:
    """Return the laws between the kinds that a block has."""
    known = {kind for kind in taps if kind not in lacks}
    if "resid_mid" not in known:
        parts = tuple(kind for kind in ("attn_out", "mlp_out") if kind in known)
        return [Law("resid_post", ("resid_pre", *parts))] if parts else []
    first = [Law("resid_mid", ("resid_pre", "attn_out"))] if "attn_out" in taps else []
    return first + ([Law("resid_post", ("resid_mid", "mlp_out"))] if "mlp_out" in known else [])
