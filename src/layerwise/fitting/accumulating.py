"""The skeleton of fits that are sums over windows: two halves in turn, checkpoints, an end when the halves agree."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from layerwise.fitting.agreement import Agreement, agreement
from layerwise.fitting.checkpoint_clock import CheckpointClock
from layerwise.fitting.estimate import Estimate
from layerwise.fitting.estimator import Estimator, MakeEstimator
from layerwise.fitting.held_out import HeldOut
from layerwise.fitting.plan import FitPlan
from layerwise.fitting.sums_folder import Progressed, expect_same_fit, read_state, read_sums, save_sums
from layerwise.fitting.text.windows import FitText, sum_of_sums
from layerwise.lenses.fitted import Translators
from layerwise.types import Progress

_FIRST_CHECK = 8
"""Windows of each half after which they are first compared."""
_NEXT_CHECK = 1.5
"""Times as many windows after which they are compared again."""


@dataclass(frozen=True)
class UsedText:
    """What was fitted on."""

    sums: list[str]
    """Of the windows."""
    documents: int
    tokens: int

    @staticmethod
    def of(text: FitText, done: Sequence[int]) -> "UsedText":
        """Return what so many windows of each half are."""
        used = [half.first(count) for half, count in zip(text.halves, done, strict=True)]
        sums = [each for half in used for each in half.sums]
        return UsedText(sums, sum(half.documents for half in used), len(sums) * text.length)

    @staticmethod
    def together(parts: "Sequence[UsedText]") -> "UsedText":
        """Return what shards are of one text: each has windows of most documents."""
        sums = [each for part in parts for each in part.sums]
        return UsedText(sums, max(part.documents for part in parts), sum(part.tokens for part in parts))

    def described(self) -> dict[str, Any]:
        """Return what a lens's card says of it."""
        return {
            "sum": sum_of_sums(self.sums),
            "documents": self.documents,
            "windows": len(self.sums),
            "tokens": self.tokens,
        }


@dataclass(frozen=True, eq=False)
class Fitted:
    """What came of a fit."""

    translators: Translators
    """Of both halves together."""
    agreement: Agreement | None
    """None for a method that knows no halves."""
    used: UsedText


SecondsPerWindow = Callable[[Int[Tensor, "window position"]], float]
"""Says how long some windows take each."""


@dataclass(frozen=True, eq=False)
class Accumulation:
    """A fit that is about to be carried out, or to be gone on with."""

    plan: FitPlan
    text: FitText
    held_out: HeldOut
    make: MakeEstimator
    key: Mapping[str, Any]
    """All that determines the numbers: what sums with another key are not added to."""
    batch: int
    """Windows that an estimator takes at once."""
    seconds_per_window: SecondsPerWindow | None = None
    """Measures a small part of the work; without it the first batch is measured as it is done."""
    bytes_per_batch: int = 0
    """Of what an estimator holds for a batch beside its sums."""
    bytes_of_lens: int = 0

    def carry_out(
        self,
        partial: Path | None,
        *,
        progress: Progress | None = None,
        on_estimate: Callable[[Estimate], None] | None = None,
    ) -> Fitted:
        """Return what comes of the fit.

        Args:
            partial: folder of checkpoints. If sums of this fit are there, it is gone on with; None to write none.
            progress: told how many windows were taken.
            on_estimate: told once what the rest will cost, when the first batch was measured.

        Raises:
            LensError: the folder holds the sums of another fit.
            StoreError: a checkpoint cannot be written.
        """
        halves, agreed = self.gathered(partial, progress=progress, on_estimate=on_estimate)
        return joined(self.plan, halves, self.held_out, UsedText.of(self.text, halves.done), agreed)

    def gathered(
        self,
        partial: Path | None,
        *,
        progress: Progress | None = None,
        on_estimate: Callable[[Estimate], None] | None = None,
    ) -> tuple["Halves", Agreement | None]:
        """Return the sums of both halves, and how far they agreed where that ended the fit."""
        halves = self._begun(partial)
        clock = CheckpointClock()
        total = sum(len(half) for half in self.text.halves)
        if on_estimate and self.seconds_per_window and (first := halves.next(self.text)) is not None:
            ids = halves.upcoming(self.text, first)
            on_estimate(self._estimate(halves, self.seconds_per_window(ids), total))
        told = self.seconds_per_window is not None
        agreed: Agreement | None = None
        while agreed is None and (index := halves.next(self.text)) is not None:
            began = time.perf_counter()
            windows = halves.take(self.text, index, _of_a_batch(self.plan.method, sum(halves.done), total, progress))
            if on_estimate and not told:
                on_estimate(self._estimate(halves, (time.perf_counter() - began) / windows, total))
            told = True
            if progress:
                progress(f"fitting {self.plan.method}", sum(halves.done), total)
            agreed = self._agreed(halves)
            if partial and clock.is_due() and sum(halves.done) < total:
                clock.write(lambda: save_sums(partial, halves.progressed(self.key), halves.estimators))
        return halves, agreed

    def _begun(self, partial: Path | None) -> "Halves":
        halves = Halves((self.make(), self.make()), self.batch)
        if partial is None or not partial.exists():
            return halves
        state = read_state(partial)
        expect_same_fit(partial, state.key, self.key)
        for estimator, sums in zip(halves.estimators, read_sums(partial), strict=True):
            estimator.sums.include(sums)
        return Halves(halves.estimators, state.batch, state.done)

    def _estimate(self, halves: "Halves", seconds_per_window: float, total: int) -> Estimate:
        sums = [half.sums for half in halves.estimators]
        both, in_memory = sum(each.n_bytes for each in sums), all(each.in_memory for each in sums)
        return Estimate(
            seconds_per_window * (total - sum(halves.done)),
            self.bytes_per_batch + (2 * both if in_memory else self.bytes_of_lens),
            self.bytes_of_lens + (both if in_memory else 2 * both),  # a checkpoint is as large as what it is of
            may_stop_early=self.plan.until is not None,
        )

    def _agreed(self, halves: "Halves") -> Agreement | None:
        """Return how far halves agree if that is enough, and it is time to ask."""
        until = self.plan.until
        if until is None or not halves.is_time_to_compare():
            return None
        found = _compared(self.plan, halves, self.held_out)
        return found if found.share >= until else None


class Halves:
    """Both halves' estimators, and how many windows each has taken. They take batches in turn."""

    def __init__(self, estimators: tuple[Estimator, Estimator], batch: int, done: Sequence[int] = (0, 0)) -> None:
        self.estimators, self.batch = estimators, batch
        self._done = list(done)

    @property
    def done(self) -> tuple[int, int]:
        return self._done[0], self._done[1]

    def next(self, text: FitText) -> int | None:
        """Return whose turn it is, of those that have text left."""
        left = [index for index in (0, 1) if self._done[index] < len(text.halves[index])]
        return min(left, key=lambda index: (self._done[index], index), default=None)

    def upcoming(self, text: FitText, index: int) -> Int[Tensor, "window position"]:
        """Return a half's next batch."""
        return text.halves[index].ids[self._done[index] :][: self.batch]

    def take(self, text: FitText, index: int, progress: Progress | None = None) -> int:
        """Have a half take its next batch, and return how many windows that were."""
        ids = self.upcoming(text, index)
        self.estimators[index].add(ids, progress)
        self._done[index] += len(ids)
        return len(ids)

    def count(self, done: Sequence[int]) -> None:
        """Count windows whose sums were added from elsewhere."""
        self._done = [mine + more for mine, more in zip(self._done, done, strict=True)]

    def is_time_to_compare(self) -> bool:
        """Return whether both have come past a number of windows at which they are compared.

        Which numbers those are does not depend on when the fit was interrupted.
        """
        now = min(self._done)
        if self._done[0] != self._done[1]:
            return False
        check = float(_FIRST_CHECK)
        while check < now - self.batch:
            check *= _NEXT_CHECK
        return now - self.batch < check <= now

    def progressed(self, key: Mapping[str, Any], more: Mapping[str, Any] | None = None) -> Progressed:
        return Progressed(key, self.batch, self.done, more or {})


def joined(
    plan: FitPlan,
    halves: Halves,
    held_out: HeldOut,
    used: UsedText,
    agreed: Agreement | None = None,
) -> Fitted:
    """Return what follows from both halves' sums; how far they agree, too, if that was not found out yet.

    Afterwards the first half's sums are both halves': memory may have no room for more.
    """
    agreed = agreed or _compared(plan, halves, held_out)
    whole, other = halves.estimators
    whole.sums.include(other.sums)
    return Fitted(whole.translators(), agreed, used)


def _compared(plan: FitPlan, halves: Halves, held_out: HeldOut) -> Agreement:
    first, second = (estimator.translators() for estimator in halves.estimators)
    return agreement(plan.method, first, second, held_out, halves.done)


def _of_a_batch(method: str, done: int, total: int, progress: Progress | None) -> Progress | None:
    """Return who is told how far a batch is, in words that say how far all is."""
    return progress and (
        lambda _, step, steps: progress(f"fitting {method}, {done} of {total} windows done", step, steps)
    )
