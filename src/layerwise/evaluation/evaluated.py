"""What came of an evaluation: ranks and figures as they were read, and the numbers that follow."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from layerwise.fitting.figures import Figures
from layerwise.measures.uncertainty import Estimate, estimate, later_than_all

READABLE = 10
"""A word is readable where its rank is at most this: k of pass@k by default."""

NEIGHBOUR, ROTATED = "neighbouring layer", "rotated"
OTHER, SHUFFLED, RANDOM = "another prompt", "shuffled prompt", "random weights"
"""The controls (`evaluation.controls`), by the names that reports have for them."""

_SEED = 0


@dataclass(frozen=True)
class Word:
    """An intermediate of an item."""

    item: str
    category: str
    word: str
    known: bool | None
    """Whether the model says it when asked for it; None where the set does not say how to ask."""


@dataclass(frozen=True, eq=False)
class LensRead:
    """What one lens read."""

    name: str
    method: str | None
    """None for a lens that was not fitted."""
    unspoken: Int[np.ndarray, "word layer"]
    """Ranks of the intermediates at the end of their prompts, layers 0 to n."""
    answers: Int[np.ndarray, "answer layer"]
    """Ranks of answers that the model knows, at the end of the prompts that ask for them."""
    held_out: Figures
    """On the evaluation's text, layers 0 to n − 1."""
    controls: Mapping[str, Int[np.ndarray, "word layer"]] = field(default_factory=dict)
    """`unspoken` where it should be low, by the control's name; 0 where an item has no such control."""
    card: Mapping[str, Any] = field(default_factory=dict)
    """Of its card: `text` that it was fitted on, and its figures there (`held_out`)."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Lenses of one model, side by side on the same prompts and text. The first lens is the logit lens."""

    model: str
    n_layers: int
    items: str
    """Which set: the file's name, or the one that comes with layerwise."""
    words: tuple[Word, ...]
    text: Mapping[str, Any]
    """That `held_out` figures are of: source, windows, tokens, sum."""
    lenses: tuple[LensRead, ...]
    versions: Mapping[str, str]

    @property
    def counted(self) -> Bool[np.ndarray, " word"]:
        """Which words count: all but those that the model is known not to know."""
        return np.array([word.known is not False for word in self.words])

    @property
    def categories(self) -> list[str]:
        return list(dict.fromkeys(word.category for word in self.words))

    @property
    def asks(self) -> bool:
        """Whether the set says how to ask for some intermediates outright."""
        return any(word.known is not None for word in self.words)

    @property
    def controls(self) -> list[str]:
        return list(dict.fromkeys(name for lens in self.lenses for name in lens.controls))

    def lens(self, name: str) -> LensRead:
        return next(lens for lens in self.lenses if lens.name == name)

    def pass_at(
        self,
        lens: LensRead,
        k: int = READABLE,
        *,
        control: str | None = None,
        category: str | None = None,
        depth: float = 1,
    ) -> Estimate | None:
        """Return pass@k: the mean over items of the share of intermediates with a rank of at most k at some layer.

        Layers 1 to n − 1: layer n is the output, through whatever lens. Gurnee et al. (2026).

        Args:
            lens: of this evaluation.
            k: the largest rank that passes.
            control: read under a control instead.
            category: of these items only.
            depth: up to this share of the layers.
        """
        return _share(self._passed(lens, k, control, category, depth))

    def gain(self, lens: LensRead, over: LensRead, k: int = READABLE) -> Estimate | None:
        """Return by how much pass@k is higher than another lens's, with its interval paired by item."""
        own, other = (self._passed(each, k) for each in (lens, over))
        return estimate(own - other, "mean", seed=_SEED)

    def gain_over_control(self, lens: LensRead, control: str, k: int = READABLE) -> Estimate | None:
        """Return by how much pass@k is higher than under a control, paired by item."""
        there = lens.controls[control].max(axis=1) > 0
        own = self._by_item(_best(lens.unspoken, self._until(1)) <= k, there)
        under = self._by_item(_best(lens.controls[control], self._until(1)) <= k, there)
        return estimate(own - under, "mean", seed=_SEED)

    def first_readable(self, lens: LensRead, k: int = READABLE) -> Estimate | None:
        """Return the median over intermediates of the first layer where the rank is at most k, n + 1 for never."""
        return estimate(self._first(lens.unspoken[self.counted], k), "median", seed=_SEED)

    def first_answer(self, lens: LensRead) -> Estimate | None:
        """Return the median over known answers of the first layer where the answer is the likeliest token."""
        return estimate(self._first(lens.answers, 1), "median", seed=_SEED)

    def earlier_answer(self, lens: LensRead, over: LensRead) -> Estimate | None:
        """Return the median over known answers of how many layers earlier it leads than through another lens."""
        return estimate(self._first(over.answers, 1) - self._first(lens.answers, 1), "median", seed=_SEED)

    def by_layer(self, lens: LensRead, k: int = READABLE) -> Float[np.ndarray, " layer"]:
        """Return by layer, 0 to n, the share of intermediates that are readable there."""
        return _mean(lens.unspoken[self.counted] <= k)

    def answers_by_layer(self, lens: LensRead) -> Float[np.ndarray, " layer"]:
        """Return by layer, 0 to n, the share of known answers that are the likeliest token there."""
        return _mean(lens.answers == 1)

    def _until(self, depth: float) -> slice:
        """Return layers 1 to n − 1, up to a share of n; of a model of one block layer 0, which is all there is."""
        first = min(1, self.n_layers - 1)
        return slice(first, max(first + 1, min(self.n_layers, int(depth * self.n_layers) + 1)))

    def _passed(
        self, lens: LensRead, k: int, control: str | None = None, category: str | None = None, depth: float = 1
    ) -> np.ndarray:
        ranks = lens.unspoken if control is None else lens.controls[control]
        there = ranks.max(axis=1) > 0
        if category is not None:
            there &= np.array([word.category == category for word in self.words])
        return self._by_item(_best(ranks, self._until(depth)) <= k, there)

    def _by_item(self, passed: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Return by item the share of its words that passed, of those that count."""
        shares: dict[str, list[bool]] = {}
        for word, ok, counts in zip(self.words, passed, there & self.counted, strict=True):
            if counts:
                shares.setdefault(word.item, []).append(bool(ok))
        return np.array([np.mean(each) for each in shares.values()])

    def _first(self, ranks: np.ndarray, k: int) -> np.ndarray:
        read = ranks[:, 1:] <= k
        return later_than_all([int(row.argmax()) + 1 if row.any() else None for row in read], self.n_layers)


def _mean(rows: np.ndarray) -> np.ndarray:
    """Return the mean of rows; NaN where there are none."""
    return rows.mean(axis=0) if len(rows) else np.full(rows.shape[1], np.nan)


def _best(ranks: np.ndarray, layers: slice) -> np.ndarray:
    return ranks[:, layers].min(axis=1)


def _share(values: np.ndarray) -> Estimate | None:
    return estimate(values, "share", seed=_SEED)
