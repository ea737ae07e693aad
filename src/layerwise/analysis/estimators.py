"""What claims are about: one number per item, and the statistic over items.

Each estimator takes the questions that a claim is about, of one model, and returns a value per item
together with the statistic that sums items up. Wordings of an item are averaged, never resampled.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from layerwise.analysis.cases import Cases
from layerwise.lens_spec import LOGIT, RAW
from layerwise.measures.calibration import HeldOutInner
from layerwise.measures.uncertainty import PerItem, Statistic, per_item

LAST_LAYERS = 0.15
"""Of depth: "the last layers"."""


@dataclass(frozen=True)
class Sample:
    """One value per item, and how the items are summed up."""

    values: PerItem
    statistic: Statistic
    layers: tuple[int, ...] = ()
    """The inner layers that were chosen on other items, where the estimator reads one."""


class NotEstimableError(Exception):
    """What an estimator needs is not in the run; says what is missing."""


def settled_depth(by_lens: Mapping[str, Cases], directions: tuple[str, ...]) -> Sample:
    """Depth (layer / n) from which the answer's deciding token has rank 1 to the output."""
    return Sample(_logit(by_lens).depth_per_item("settled_top1"), "median")


def phases(by_lens: Mapping[str, Cases], directions: tuple[str, ...]) -> Sample:
    """Share of items with noise first, then the answer, then calibration.

    That is: half of layer 1's entropy is reached for good before the answer settles, the answer settles
    before the output, and its probability falls from the inner layer (chosen on other items) to the output.
    """
    cases = _logit(by_lens)
    noise, settled = cases.layers("half_entropy"), cases.layers("settled_top1")
    falls = _inner_prob(cases) > cases.curves["answer_prob"][:, -1]
    holds = (noise < settled) & (settled < cases.n_layers) & falls
    return Sample(per_item(holds, cases.items), "share", _inner(cases).layers)


def inner_minus_final(by_lens: Mapping[str, Cases], directions: tuple[str, ...]) -> Sample:
    """Probability of the deciding token at an inner layer (chosen on other items) minus that at the output."""
    cases = _logit(by_lens)
    gaps = per_item(_inner_prob(cases) - cases.curves["answer_prob"][:, -1], cases.items)
    return Sample(gaps, "median", _inner(cases).layers)


def direction_difference(by_lens: Mapping[str, Cases], directions: tuple[str, ...]) -> Sample:
    """Whole-answer probability in the first direction minus the second, averaged over wordings, paired by item."""
    cases = _logit(by_lens)
    first, second = (_whole_prob(cases.of(direction=direction)) for direction in directions)
    common, one, other = np.intersect1d(first.items, second.items, return_indices=True)
    return Sample(PerItem(tuple(common.tolist()), first.values[one] - second.values[other]), "median")


def norm_matters(by_lens: Mapping[str, Cases], directions: tuple[str, ...]) -> Sample:
    """Median over layers of KL(logit lens ‖ raw lens), in bits."""
    if RAW.name not in by_lens:
        raise NotEstimableError("the run has no raw lens")
    if LOGIT.name not in by_lens:
        raise NotEstimableError("the run has no logit lens")
    cases = by_lens[RAW.name]
    return Sample(per_item(np.median(cases.curves["kl_from_logit_lens_bits"], axis=1), cases.items), "median")


def late_entropy_change(by_lens: Mapping[str, Cases], directions: tuple[str, ...]) -> Sample:
    """Entropy of the output minus that before the last 15 % of layers (rounded down, at least one), in bits."""
    cases = _logit(by_lens)
    start = cases.n_layers - max(1, math.floor(LAST_LAYERS * cases.n_layers))
    entropy = cases.curves["entropy_bits"]
    return Sample(per_item(entropy[:, -1] - entropy[:, start], cases.items), "median")


def inner_top_is_output(by_lens: Mapping[str, Cases], directions: tuple[str, ...]) -> Sample:
    """Share of items whose likeliest token at the inner layer (chosen on other items) is the output's."""
    cases = _logit(by_lens)
    at_inner = np.take_along_axis(cases.top, _inner(cases).layer[:, None], axis=1)[:, 0]
    return Sample(per_item(at_inner == cases.top[:, -1], cases.items), "share", _inner(cases).layers)


ESTIMATORS: dict[str, Callable[[Mapping[str, Cases], tuple[str, ...]], Sample]] = {
    each.__name__: each
    for each in (
        settled_depth,
        phases,
        inner_minus_final,
        direction_difference,
        norm_matters,
        late_entropy_change,
        inner_top_is_output,
    )
}

UNITS = {
    "settled_depth": "median over items; depth from 0 to 1",
    "phases": "share of items, 0 to 1",
    "inner_minus_final": "median over items; probability",
    "direction_difference": "median over items; probability",
    "norm_matters": "median over items; bits",
    "late_entropy_change": "median over items; bits",
    "inner_top_is_output": "share of items, 0 to 1",
}
"""Of each estimator: how items are summed up, and the unit."""


def definition(name: str) -> str:
    """Return an estimator's definition, in a sentence or a short paragraph on one line."""
    return " ".join((ESTIMATORS[name].__doc__ or "").split())


def _logit(by_lens: Mapping[str, Cases]) -> Cases:
    if LOGIT.name not in by_lens:
        raise NotEstimableError("the run has no logit lens")
    return by_lens[LOGIT.name]


def _inner(cases: Cases) -> HeldOutInner:
    if cases.n_layers < 2:
        raise NotEstimableError("the model has no layer between the first and the last")
    if cases.inner is None:
        raise NotEstimableError(f"too few items ({len(set(cases.items))}) to choose an inner layer on others")
    return cases.inner


def _inner_prob(cases: Cases) -> np.ndarray:
    return _inner(cases).inner_prob


def _whole_prob(cases: Cases) -> PerItem:
    return per_item(cases.whole_prob, cases.items)
