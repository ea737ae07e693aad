"""One published figure beside one of ours: the finding."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from layerwise.reference.agreement import (
    BFLOAT16,
    Tolerance,
    first_agrees,
    first_layer,
    probs_agree,
    tightest,
)
from layerwise.reference.findings import Finding
from layerwise.reference.measured import Layer, Listed
from layerwise.text import visible

_NOT_READ = "the run did not read this layer"


@dataclass(frozen=True)
class Judge:
    """Compares figures of one published file with a run's."""

    source: str
    allowed: tuple[Tolerance, ...]
    """Tightest first."""
    spaces_lost: bool = False
    """Whether the file's tokens lost their leading space."""

    def prob(
        self, where: str, token: str, published: float, listed: Listed | None, temperature: float = 1.0
    ) -> Finding:
        """Compare a token's probability. A token that we don't list has less than our last one."""
        figure = f"p({visible(token)})"
        figure = f"{where} {figure}" if where.startswith("output") else f"{figure} at {where}"
        if listed is None:
            return self._absent(figure, published, _NOT_READ)
        words = partial(Tolerance.in_prob, temperature=temperature)
        found = listed.find(token, published, spaces_lost=self.spaces_lost)
        if found:
            within = tightest(lambda t: probs_agree(published, found.prob, t, temperature), self.allowed)
            return self._finding(figure, published, found.prob, within, words, note=found.note)
        note = f"not among our {len(listed.tokens)} likeliest, the last of which has {number(listed.floor)}"
        could_be_below = published < listed.floor or probs_agree(published, listed.floor, self.allowed[-1], temperature)
        if could_be_below:
            return self._absent(figure, published, note)
        return self._finding(figure, published, None, None, words, note=note)

    def top_token(self, k: int, token: str, prob: float, layer: Layer | None) -> Finding:
        """Compare the likeliest token; another one is let through if ours are as good as tied."""
        figure = f"top-1 at layer {k}"
        if layer is None:
            return self._absent(figure, token, _NOT_READ)
        best, best_prob = layer.listed.best
        found = layer.listed.find(token, prob, spaces_lost=self.spaces_lost)
        behind = math.log(best_prob / max(found.prob if found else layer.listed.floor, 1e-12))
        if found is None:
            note = f"published with {number(prob)}; not among our {len(layer.listed.tokens)} likeliest"
            if behind <= self.allowed[-1].log_odds:
                return self._absent(figure, token, f"{note}, which are as good as tied: too few to tell")
            return self._finding(figure, token, best, None, Tolerance.in_order, note=note)
        if found.text == best:
            return self._finding(figure, token, best, self.allowed[0], Tolerance.in_order, note=found.note)
        within = tightest(lambda t: behind <= t.log_odds, self.allowed)
        both = f"here {visible(token)} has {number(found.prob)}, {visible(best)} {number(best_prob)}"
        return self._finding(figure, token, best, within, Tolerance.in_order, note=_join(found.note, both))

    def entropy(self, where: str, published: float, ours: float | None) -> Finding:
        """Compare an entropy, in bits."""
        figure = f"entropy {where}"
        if ours is None or math.isnan(ours):
            return self._absent(figure, published, _NOT_READ)
        within = tightest(lambda t: abs(published - ours) <= t.bits, self.allowed)
        return self._finding(figure, published, ours, within, Tolerance.in_bits)

    def rank(self, k: int, word: str, published: int, layer: Layer | None) -> Finding:
        """Compare a word's rank."""
        figure = f"rank of {visible(word)} at layer {k}"
        if layer is None:
            return self._absent(figure, published, _NOT_READ)
        ours = layer.rank_of(word)
        if ours is None:
            listed = len(layer.listed.tokens)
            note = f"not among our {listed} likeliest, and the run has no rank for it"
            if published + self.allowed[-1].ranks > listed:
                return self._absent(figure, published, note)
            return self._finding(figure, published, None, None, Tolerance.in_ranks, note=note)
        within = tightest(lambda t: abs(published - ours) <= t.ranks, self.allowed)
        return self._finding(figure, published, ours, within, Tolerance.in_ranks)

    def first(self, figure: str, published: int, excess: dict[int, float]) -> Finding:
        """Compare the first layer at which something holds; `excess` as in `first_agrees`."""
        if published not in excess:
            return self._absent(figure, published, _NOT_READ)
        ours = first_layer(excess)
        same = ours == published
        within = tightest(lambda t: same or first_agrees(published, excess, t), self.allowed)
        note = f"a close call at layer {published}" if within and not same else ""
        return self._finding(figure, published, ours, within, Tolerance.in_layers, note=note)

    def _absent(self, figure: str, published: str | float, note: str) -> Finding:
        return Finding(figure, self.source, published, None, "", "not in this run", note)

    def _finding(
        self,
        figure: str,
        published: str | float,
        ours: str | float | None,
        within: Tolerance | None,
        words: Callable[[Tolerance], str],
        *,
        note: str = "",
    ) -> Finding:
        if within is BFLOAT16:
            note = _join(note, "no closer than a bfloat16 run would be")
        verdict = "reproduces" if within else "differs"
        return Finding(figure, self.source, published, ours, words(within or self.allowed[-1]), verdict, note)


def missing(source: str, prompt: str, rows: Sequence[object], *, lens: bool = False, figure: str = "") -> Finding:
    """Return the finding that stands for everything about a prompt that the run did not ask."""
    figure = figure or ("the lens at every published layer" if lens else "output")
    what = "no logit lens for" if lens else "not asked"
    count = f"{len(rows)} row{'s' if len(rows) != 1 else ''}"
    return Finding(figure, source, count, None, "", "not in this run", f"{what}: {prompt}")


def fault(why: str) -> Callable[..., Finding]:
    """Return what marks a finding *known wrong* for this reason; a second argument adds to it."""
    return lambda finding, more="": known_wrong(finding, f"{why}; {more}" if more else why)


def known_wrong(finding: Finding, why: str) -> Finding:
    """Return the finding as one about a published figure that is wrong, whatever ours is."""
    return replace(finding, verdict="known wrong", tolerance="", note=why)


def number(value: float) -> str:
    """Return a probability in a few digits: ``.79073``, ``3.2e-07``."""
    return f"{value:.5g}".removeprefix("0") if value >= 1e-4 else f"{value:.2g}"


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
