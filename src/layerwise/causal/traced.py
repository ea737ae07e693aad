"""What causal tracing over questions found: every pair's recoveries, and what they say together."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from layerwise.measures.uncertainty import Estimate, estimate, per_item
from layerwise.questions.question import mixed
from layerwise.types import ModelInfo

SUBJECT, SUBJECT_LAST, BETWEEN, LAST = "subject before", "subject's last token", "after the subject", "last token"

ROLES = (SUBJECT, SUBJECT_LAST, BETWEEN, LAST)
"""Of positions: tokens of the subject before its last one, that one, those after it, and the prompt's last."""

KINDS = ("resid_pre", "attn_out", "mlp_out", "z")

HALF = 0.5
"""Where so much is recovered, more of it stands there than anywhere else."""


@dataclass(frozen=True)
class TracedPair:
    """Two questions in one wording."""

    item: str
    wording: str
    clean: str
    corrupted: str
    answer: str
    against: str
    unpatched: float
    """The effect without a patch, in logits."""
    source: float


@dataclass(frozen=True, eq=False)
class CausalTracing:
    """What patches recover, pair by pair."""

    model: ModelInfo
    name: str
    """Of the questions together."""
    direction: str
    asked: int
    """Questions, in an order that depends on their names alone, until enough were known."""
    known: int
    """Of these, those that the model answers."""
    pairs: tuple[TracedPair, ...]
    skipped: dict[str, int]
    """By reason, known questions that could not be paired."""
    blocks: dict[str, tuple[int, ...]]
    recovery: dict[str, Float[np.ndarray, "pair block place"]]
    """By kind; places are `ROLES`, each role's mean, NaN where a prompt has none, and of ``z`` heads."""
    placebo: dict[str, Float[np.ndarray, "pair block place"]]
    """The same, moved as far in random directions."""
    seed: int
    versions: dict[str, str]

    def mean(self, values: Float[np.ndarray, " pair"]) -> Estimate | None:
        """Return the mean over items of one value per pair, with its interval."""
        return estimate(per_item(values, [pair.item for pair in self.pairs]).values, "mean", seed=self.seed)

    def by_block(self, kind: str, role: str) -> list[Estimate | None]:
        """Return a role's mean recovery at each block."""
        at = ROLES.index(role)
        return [self.mean(self.recovery[kind][:, row, at]) for row in range(len(self.blocks[kind]))]

    @property
    def items(self) -> int:
        """How many items the pairs' clean questions are about."""
        return len({pair.item for pair in self.pairs})

    def largest(self, kind: str, role: str) -> tuple[int, Estimate] | None:
        """Return the block at which most is recovered at a role's positions, and how much; None without any.

        The block is chosen on half of the items, and what it recovers is of the other half: the largest of many
        means is large by chance as well.
        """
        values = self.recovery[kind][:, :, ROLES.index(role)]
        choosing, others = self._halves
        if not np.isfinite(values[choosing]).any():
            return None
        row = int(np.nanargmax([_mean_of(column) for column in values[choosing].T]))
        found = self.mean(np.where(others, values[:, row], np.nan))
        return (self.blocks[kind][row], found) if found else None

    @property
    def _halves(self) -> tuple[np.ndarray, np.ndarray]:
        """Which pairs something is chosen on, and which it is estimated on: of other items, where there are two."""
        items = sorted({pair.item for pair in self.pairs}, key=lambda item: mixed("half", item))
        chosen_on = {*items[: max(1, len(items) // 2)]}
        choosing = np.array([pair.item in chosen_on for pair in self.pairs])
        return choosing, ~choosing if len(items) > 1 else choosing

    @property
    def leaves(self) -> Estimate | None:
        """The first layer at which less than half is recovered at the subject's last token; median over items."""
        return self._layer(self.recovery["resid_pre"][:, :, ROLES.index(SUBJECT_LAST)] < HALF)

    @property
    def arrives(self) -> Estimate | None:
        """The layer from which at least half is recovered at the last position for good; median over items."""
        held = self.recovery["resid_pre"][:, :, ROLES.index(LAST)] >= HALF
        return self._layer(np.flip(np.logical_and.accumulate(np.flip(held, axis=1), axis=1), axis=1))

    def _layer(self, holds: np.ndarray) -> Estimate | None:
        """Return the median of the first layers at which something holds: layer n, where it does at none before."""
        layers = np.where(holds.any(axis=1), holds.argmax(axis=1), holds.shape[1])
        found = per_item(layers.astype(float), [pair.item for pair in self.pairs], "median").values
        return estimate(found, "median", seed=self.seed)

    def strongest_heads(self, count: int = 5) -> list[tuple[int, int, Estimate | None, Estimate | None]]:
        """Return the heads that recover most by themselves: block, head, recovery, placebo. Chosen as in `largest`."""
        choosing, others = self._halves
        means = self.recovery["z"][choosing].mean(axis=0)
        order = np.argsort(-means, axis=None, kind="stable")[:count]
        found = [divmod(int(each), means.shape[1]) for each in order]

        def of_others(values: np.ndarray) -> Estimate | None:
            return self.mean(np.where(others, values, np.nan))

        return [
            (
                self.blocks["z"][row],
                head,
                of_others(self.recovery["z"][:, row, head]),
                of_others(self.placebo["z"][:, row, head]),
            )
            for row, head in found
        ]

    def largest_placebo(self, kind: str) -> float:
        """Return the mean placebo that is furthest from 0, of any block and place."""
        every = np.moveaxis(self.placebo[kind], 0, -1).reshape(-1, len(self.pairs))
        return max(abs(_mean_of(values)) for values in every if np.isfinite(values).any())


def _mean_of(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan
