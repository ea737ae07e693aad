"""A run's question sets in numbers: what is known, where it settles, and how sure that is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from layerwise.analysis.cases import Cases
from layerwise.analysis.judging import SEED
from layerwise.measures.uncertainty import (
    Estimate,
    PairedTest,
    PerItem,
    Statistic,
    estimate,
    holm,
    paired,
    per_item,
)

MILESTONES = ("settled_top1", "first_top1", "half_entropy", "settled_kl_1bit")
"""Whose depths are summed up."""


@dataclass(frozen=True)
class Cell:
    """One model's questions of a set, in one direction, in one wording or in all of them."""

    model: str
    set: str
    direction: str
    wording: str | None
    """None for all: each item's wordings are summed up first."""
    questions: int
    known: Estimate | None
    """Share of questions whose answer the model would write by itself; items resampled."""
    answer_prob: Estimate | None
    """Median over items of the whole answer's probability at the output."""
    depths: dict[str, Estimate | None]
    """Median depth of each milestone over items with a known answer. Never is beyond 1."""
    never_settled: float
    """Share of all questions whose answer does not have rank 1 at the output."""

    @property
    def items(self) -> int:
        return self.known.n if self.known else 0

    @property
    def known_items(self) -> int:
        """Items with at least one question whose answer is known."""
        settled = self.depths["settled_top1"]
        return settled.n if settled else 0


def cells(cases: Cases, *, by_wording: bool) -> list[Cell]:
    """Return a cell for each set and direction, or for each of their wordings too."""
    return [_cell(some, *key) for key, some in cases.by("set", "direction", *(["wording"] if by_wording else []))]


def _cell(cases: Cases, set_name: str, direction: str, wording: str | None = None) -> Cell:
    known = cases.known
    return Cell(
        cases.model,
        set_name,
        direction,
        wording,
        len(cases),
        estimate(per_item(cases.rows["known"].to_numpy(dtype=float), cases.items).values, "share", seed=SEED),
        estimate(per_item(cases.whole_prob, cases.items).values, "median", seed=SEED),
        {name: _median_depth(known, name) for name in MILESTONES},
        float(np.mean(cases.layers("settled_top1") > cases.n_layers)),
    )


@dataclass(frozen=True)
class Comparison:
    """Two conditions, item by item."""

    what: str
    """What is compared: ``models``, ``lenses``, ``directions``, ``wordings`` or ``swapped subject``."""
    set: str
    model: str
    """Empty where models are compared."""
    first: str
    second: str
    measure: str
    test: PairedTest
    adjusted_p: float
    """Holm's, over all comparisons of the report."""


def settled_depths(cases: Cases) -> dict[tuple[str, str], Estimate | None]:
    """Return by set and direction the median depth at which known answers settle, over items."""
    return {
        (set_name, direction): _median_depth(some.known, "settled_top1")
        for (set_name, direction), some in cases.by("set", "direction")
    }


def _median_depth(known: Cases, milestone: str) -> Estimate | None:
    """Return the median depth of a milestone over items, of cases whose answer is known."""
    return estimate(known.depth_per_item(milestone).values, "median", seed=SEED)


def comparisons(logit: list[Cases], fitted: Sequence[Cases] = ()) -> list[Comparison]:
    """Return all paired tests of a run, their p-values adjusted together.

    Of the logit lens: models by the depth at which answers settle, over the questions whose answer both know;
    directions and wordings by the whole answer's probability; and an answer under its own subject against the same
    answer under another. Of fitted lenses: the depth at which known answers settle, against the logit lens's.
    """
    found = [*_between_models(logit), *_between_lenses(logit, fitted)]
    for cases in logit:
        found += [*_between_directions(cases), *_between_wordings(cases), *_swapped(cases)]
    if not found:
        return []
    adjusted = holm(np.array([each.test.p_value for each in found]))
    return [replace(each, adjusted_p=float(p)) for each, p in zip(found, adjusted, strict=True)]


def _between_models(logit: list[Cases]) -> Iterator[Comparison]:
    for at, one in enumerate(logit):
        for other in logit[at + 1 :]:
            for set_name in dict.fromkeys(one.rows["set"]):
                known = [c.of(set=set_name).known for c in (one, other)]
                both = set(known[0].rows["question"]) & set(known[1].rows["question"])
                depths = [c.where(c.rows["question"].isin(list(both))).depth_per_item("settled_top1") for c in known]
                yield from _tested("models", set_name, "", (one.model, other.model), "settled depth", depths)


def _between_lenses(logit: list[Cases], fitted: Sequence[Cases]) -> Iterator[Comparison]:
    for other in fitted:
        for one in logit:
            if one.model == other.model:
                for set_name in dict.fromkeys(one.rows["set"]):
                    depths = [c.of(set=set_name).known.depth_per_item("settled_top1") for c in (one, other)]
                    yield from _tested("lenses", set_name, one.model, (one.lens, other.lens), "settled depth", depths)


def _between_directions(cases: Cases) -> Iterator[Comparison]:
    for (set_name,), some in cases.by("set"):
        names = list(dict.fromkeys(some.rows["direction"]))
        for at, first in enumerate(names):
            for second in names[at + 1 :]:
                probs = [_prob_per_item(some.of(direction=name)) for name in (first, second)]
                yield from _tested("directions", set_name, cases.model, (first, second), "p(answer)", probs)


def _between_wordings(cases: Cases) -> Iterator[Comparison]:
    """Compare each wording with the first of its direction."""
    for (set_name, direction), some in cases.by("set", "direction"):
        names = list(dict.fromkeys(some.rows["wording"]))
        for second in names[1:]:
            probs = [_prob_per_item(some.of(wording=name)) for name in (names[0], second)]
            both = (f"{direction}/{names[0]}", f"{direction}/{second}")
            yield from _tested("wordings", set_name, cases.model, both, "p(answer)", probs)


def _swapped(cases: Cases) -> Iterator[Comparison]:
    """Compare an answer after its own question with the same answer after one of which it is a wrong answer.

    Both questions are of the same direction, wording and group. An answer that two items share is left out.
    """
    for (set_name,), some in cases.by("set"):
        place = list(zip(*(some.rows[name] for name in ("direction", "wording", "group")), strict=True))
        owners: dict[tuple[Any, ...], list[int]] = {}
        for own, (where, answer) in enumerate(zip(place, some.rows["answer"], strict=True)):
            owners.setdefault((*where, answer), []).append(own)
        found = [owners.get((*where, wrong), []) for where, wrong in zip(place, some.rows["wrong"], strict=True)]
        pairs = [(own[0], swapped) for swapped, own in enumerate(found) if len(own) == 1]
        if not pairs:
            continue
        owns, swaps = np.array(pairs).T
        items = some.rows["item"].iloc[owns].tolist()
        swapped_probs = np.exp(some.curves["wrong_logprob"][swaps, -1].astype(float))
        probs = [per_item(some.whole_prob[owns], items), per_item(swapped_probs, items)]
        both = ("own subject", "another's")
        yield from _tested("swapped subject", set_name, cases.model, both, "p(answer)", probs)


def _tested(
    what: str, set_name: str, model: str, names: tuple[str, str], measure: str, values: list[PerItem]
) -> Iterator[Comparison]:
    first, second = values
    _, one, other = np.intersect1d(first.items, second.items, return_indices=True)
    test = paired(first.values[one], second.values[other], seed=SEED)
    if test and test.n > 1:
        yield Comparison(what, set_name, model, *names, measure, test, test.p_value)


def _prob_per_item(cases: Cases) -> PerItem:
    return per_item(cases.whole_prob, cases.items)


@dataclass(frozen=True)
class WrongAnswer:
    """What a wrong answer of the same type gets, as often as the right one is asked for."""

    model: str
    set: str
    right_leads: Estimate | None
    """Share of questions whose answer's deciding token has rank 1 at the output."""
    wrong_leads: Estimate | None
    right_prob: Estimate | None
    """Median probability of the whole answer."""
    wrong_prob: Estimate | None
    """Of the wrong answer up to the token that tells it from the right one."""


def wrong_answers(cases: Cases) -> list[WrongAnswer]:
    """Return, per set, how the right answer does beside a wrong one of the same type."""
    return [_wrong(some, set_name) for (set_name,), some in cases.by("set")]


def _wrong(cases: Cases, set_name: str) -> WrongAnswer:
    there = cases.where(cases.rows["wrong"].notna())

    def over_items(values: np.ndarray, statistic: Statistic) -> Estimate | None:
        return estimate(per_item(values.astype(float), there.items).values, statistic, seed=SEED)

    return WrongAnswer(
        cases.model,
        set_name,
        over_items(there.curves["answer_rank"][:, -1] == 1, "share"),
        over_items(there.curves["wrong_rank"][:, -1] == 1, "share"),
        over_items(there.whole_prob, "median"),
        over_items(np.exp(there.curves["wrong_logprob"][:, -1].astype(float)), "median"),
    )


@dataclass(frozen=True)
class Gap:
    """How much more certain an inner layer is of known answers than the output is."""

    model: str
    lens: str
    set: str
    layer: tuple[int, ...]
    """The inner layers that the folds chose."""
    gap: Estimate | None
    """Median over items of the deciding token's probability at the inner layer minus that at the model's output."""


def calibration_gaps(cases: Cases, logit: Cases) -> list[Gap]:
    """Return the calibration gap of each set with known answers, the layer chosen on other items.

    Args:
        cases: read at inner layers, through any lens.
        logit: the same questions through the logit lens, whose layer n is the model's output. No other lens's is.
    """
    final = dict(zip(logit.rows["question"], logit.curves["answer_prob"][:, -1], strict=True))
    found = []
    for (set_name,), some in cases.known.by("set"):
        if some.inner:
            output = np.array([final[question] for question in some.rows["question"]])
            gaps = per_item(some.inner.inner_prob - output, some.items)
            gap = estimate(gaps.values, "median", seed=SEED)
            found.append(Gap(cases.model, cases.lens, set_name, some.inner.layers, gap))
    return found
