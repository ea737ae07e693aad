"""What a confirmation found: whether the layer at which a lens reads the answer drives the output."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from layerwise.measures.claims import Region, verdict
from layerwise.measures.uncertainty import Estimate, estimate, later_than_all, per_item
from layerwise.types import ModelInfo

EXCHANGE = "exchange"
PLACEBOS = ("unrelated pair", "random direction", "another position")
KINDS = (EXCHANGE, *PLACEBOS)
"""What is done at a layer: two answers' readings exchanged at the last position; those of answers to other questions; a
move as far in a random direction; and the exchange at another position."""

MARGIN = 0.1
"""An exchange drives the output if it recovers by so much more than each placebo: a tenth of the way between runs."""

FEWEST = 5
"""Items that an interval needs before anything is said by it."""

HALF = 0.5

Drives = Literal["drives the output", "does not drive the output", "inconclusive", "cannot be judged"]


@dataclass(frozen=True)
class ConfirmedPair:
    """A question, and the one whose answer is exchanged with its own."""

    item: str
    wording: str
    prompt: str
    other: str
    answer: str
    against: str
    unpatched: float
    """The logit difference, answer − against, as the model runs by itself."""
    source: float
    """The same after the other question."""


@dataclass(frozen=True, eq=False)
class LensConfirmation:
    """What exchanges under one lens do, question by question."""

    lens: str
    sum: str | None
    readable: tuple[int | None, ...]
    """By pair, the layer at which the lens reads the answer; None for never."""
    recovery: dict[str, Float[np.ndarray, "pair layer"]]
    """By kind, how far the logit difference goes from the question's run (0) to the other's (1); layers 1 to n − 1, NaN
    where the lens has nothing fitted."""
    follows: Bool[np.ndarray, "pair layer"]
    """Whether the other answer is likelier than the question's own after the exchange."""


@dataclass(frozen=True, eq=False)
class Confirmation:
    """What readings of the answer are worth, over a set of questions that a model knows."""

    model: ModelInfo
    name: str
    """Of the questions together."""
    milestone: str
    asked: int
    known: int
    pairs: tuple[ConfirmedPair, ...]
    skipped: dict[str, int]
    lenses: tuple[LensConfirmation, ...]
    patched: Float[np.ndarray, "pair layer"]
    """Recovery when the other question's whole state takes the last position's place; layers 1 to n − 1."""
    seed: int
    versions: dict[str, str]

    @property
    def items(self) -> int:
        """How many items the questions are about."""
        return len({pair.item for pair in self.pairs})

    def lens(self, name: str) -> LensConfirmation:
        """Return what was found of a lens."""
        return next(each for each in self.lenses if each.lens == name)

    def estimate(
        self, values: Float[np.ndarray, " pair"], statistic: Literal["mean", "median"] = "mean"
    ) -> Estimate | None:
        """Return a statistic over items of a value per pair; pairs without one (NaN) are left out."""
        found = per_item(values, [pair.item for pair in self.pairs], statistic)
        return estimate(found.values, statistic, seed=self.seed)

    def readable_within(self, of: LensConfirmation) -> Bool[np.ndarray, " pair"]:
        """Return of which questions the lens reads the answer before the output, where an exchange says something."""
        return np.array([layer is not None and 0 < layer < self.model.n_layers for layer in of.readable])

    def at_readable(self, of: LensConfirmation, values: Float[np.ndarray, "pair layer"], offset: int = 0) -> np.ndarray:
        """Return of each pair the value at the layer at which the lens reads the answer, or so many layers after it."""
        found = np.full(len(self.pairs), np.nan)
        for index, layer in enumerate(of.readable):
            if layer is not None and layer < self.model.n_layers and 0 < layer + offset < self.model.n_layers:
                found[index] = values[index, layer + offset - 1]
        return found

    def effect(self, of: LensConfirmation, kind: str = EXCHANGE, offset: int = 0) -> Estimate | None:
        """Return what a kind recovers at the readable layer, or beside it; mean over items."""
        return self.estimate(self.at_readable(of, of.recovery[kind], offset))

    def followed(self, of: LensConfirmation) -> Estimate | None:
        """Return the share of questions whose output follows the exchange at the readable layer."""
        return self.estimate(self.at_readable(of, of.follows.astype(float)))

    def beyond(self, of: LensConfirmation, placebo: str) -> Estimate | None:
        """Return by how much the exchange recovers more than a placebo, at the readable layer; paired by item."""
        return self.estimate(self.at_readable(of, of.recovery[EXCHANGE] - of.recovery[placebo]))

    def verdict(self, of: LensConfirmation) -> Drives:
        """Return whether what the lens reads at the layer where it reads the answer drives the output.

        It does if the exchange recovers by more than `MARGIN` more than each placebo, with the whole interval; it does
        not if for one of them the whole interval is below. Fewer than `FEWEST` items say nothing.
        """
        effect = self.effect(of)
        if effect is None or effect.n < FEWEST:
            return "cannot be judged"
        each = {verdict(self.beyond(of, placebo), Region(MARGIN, np.inf)) for placebo in PLACEBOS}
        if "cannot be judged" in each:
            return "cannot be judged"
        if "not supported" in each:
            return "does not drive the output"
        return "drives the output" if each == {"supported"} else "inconclusive"

    @property
    def carried_from(self) -> Float[np.ndarray, " pair"]:
        """By pair, the layer from which on the last position carries the answer for good.

        At least half recovers when the other question's state takes its place. Layer n, where at none before.
        """
        held = self.patched >= HALF
        for_good = np.flip(np.logical_and.accumulate(np.flip(held, axis=1), axis=1), axis=1)
        return np.where(for_good.any(axis=1), for_good.argmax(axis=1) + 1, self.model.n_layers).astype(float)

    def later(self, of: LensConfirmation) -> Estimate | None:
        """Return by how many layers the lens reads the answer after the last position carries it; median over items."""
        return self.estimate(self._readable(of) - self.carried_from, "median")

    def apart(self, of: LensConfirmation) -> Estimate | None:
        """Return how many layers the two are apart; mean over items."""
        return self.estimate(np.abs(self._readable(of) - self.carried_from))

    def apart_from_others(self, of: LensConfirmation) -> Estimate | None:
        """Return the same with the next question's reading: what is no better knows nothing of the question."""
        return self.estimate(np.abs(np.roll(self._readable(of), 1) - self.carried_from))

    def correlation(self, of: LensConfirmation) -> float:
        """Return Spearman's correlation over questions of the two layers; NaN where one never changes."""
        layers, carried = self._readable(of), self.carried_from
        if min(len({*layers}), len({*carried})) < 2:
            return float("nan")
        return float(np.corrcoef(stats.rankdata(layers), stats.rankdata(carried))[0, 1])

    def _readable(self, of: LensConfirmation) -> Float[np.ndarray, " pair"]:
        """Return the readable layers; never is later than every layer."""
        return later_than_all(of.readable, self.model.n_layers)
