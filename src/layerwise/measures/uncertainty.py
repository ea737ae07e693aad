"""How sure a number is: intervals by resampling items, and tests of differences paired by item.

An *item* is the fact behind several wordings. Wordings of one item are not independent, so they are
averaged first (`per_item`), and only items are resampled or ranked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped
from scipy import stats

from layerwise.errors import CheckError

Statistic = Literal["median", "mean", "share"]

_COMPUTED_BY = {"median": np.median, "mean": np.mean, "share": np.mean}

_DECIMALS = 12
"""To which differences are kept: 18/20 − 17/20 and 3/20 − 2/20 part in the 16th decimal and must tie."""

_EXACT = 50
"""Most differences whose p-value is exact, as in scipy."""


@dataclass(frozen=True)
class Estimate:
    """A statistic of items with its bootstrap interval."""

    value: float
    low: float
    high: float
    n: int
    """Items."""
    level: float
    """Nominal coverage of the interval, for instance .95."""
    seed: int


@dataclass(frozen=True, eq=False)
class PerItem:
    """One value per item."""

    items: tuple[str, ...]
    """Sorted, each once; those without any value are missing."""
    values: Float[np.ndarray, " item"]


@dataclass(frozen=True)
class PairedTest:
    """A comparison of two conditions item by item; signs are those of first − second."""

    n: int
    """Pairs."""
    n_zero: int
    """Pairs without a difference: part of the median, not of the p-value and the correlation."""
    median_difference: Estimate
    p_value: float
    """Two-sided, Wilcoxon's signed-rank test. Not adjusted for other tests: see `holm`."""
    rank_biserial: float
    """From −1 (each pair that differs is lower in the first) to 1 (each is higher)."""


def estimate(
    values: Shaped[np.ndarray, " item"],
    statistic: Statistic,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> Estimate | None:
    """Return a statistic of the items with its percentile bootstrap interval, or None without items.

    Percentiles (Efron & Tibshirani 1993, *An Introduction to the Bootstrap*, chapter 13), because BCa is
    NaN here: its acceleration comes from leaving out one item at a time, which does not move the median
    of layers, so full of ties. Percentiles never lie beyond the data.

    A share of exactly 0 or 1, of which resampling sees nothing else, has Wilson's interval (1927, *JASA*
    22:209). Other statistics have an interval without width where all values are equal, one item included:
    not certainty, look at `n`. Five items cannot hold a median with 95 %, and a share near 0 or 1 is
    covered too seldom (.95 by 20 items: in 65 % of simulations). Values are sorted first, so their order
    changes nothing.

    Args:
        values: one finite value per item. For a share from 0 to 1: what holds of the item, or of how
            many of its wordings.
        statistic: ``share`` is a mean of such values.
        seed: of the resampling. The same values and seed give the same interval.
        level: nominal coverage.
        resamples: how often items are drawn; 2000 leave each end's percentile a standard error of 0.35 points.

    Raises:
        CheckError: a value is not finite, or a share's is not from 0 to 1.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if not len(ordered):
        return None
    _must_be_finite(ordered)
    least, most = ordered[[0, -1]]
    if statistic == "share" and not 0 <= least <= most <= 1:
        raise CheckError(f"Expected values from 0 to 1 for a share; got {least:g} to {most:g}. Use 'mean' for others.")
    value, low, high = least, least, most
    if statistic == "share" and least == most and least in (0, 1):
        low, high = stats.binomtest(int(least * len(ordered)), len(ordered)).proportion_ci(level, "wilson")
    if least < most:
        compute = _COMPUTED_BY[statistic]
        drawn = stats.bootstrap(
            (ordered,),
            compute,
            n_resamples=resamples,
            vectorized=True,
            confidence_level=level,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
        value, low, high = compute(ordered), *drawn.confidence_interval
    return Estimate(float(value), float(low), float(high), len(ordered), level, seed)


def paired(first: Shaped[np.ndarray, " item"], second: Shaped[np.ndarray, " item"], *, seed: int) -> PairedTest | None:
    """Return how two conditions differ on the same items, or None without items.

    Wilcoxon's signed-rank test (1945, *Biometrics Bulletin* 1:80) and the matched-pairs rank-biserial
    correlation, the favourable less the unfavourable share of the rank sum (Kerby 2014, *Comprehensive
    Psychology* 3:11.IT.3.1). Both leave out pairs without a difference, as Wilcoxon did: the two shares
    then make up the whole, and the p-value can be exact. Pratt's way, which ranks zeros too, has more power
    in some cases and less in others (Conover 1973, *JASA* 68:985). Differences are rounded to 12 decimals,
    else depths that should tie do not.

    The p-value is exact for up to 50 differences, tied or not, beyond that scipy's normal approximation with
    its correction for ties. Without any difference it is 1, and the correlation 0.

    Args:
        first: one finite value per item.
        second: of the same items, in the same order. Two `PerItem` may lack different items: pair what
            `numpy.intersect1d` finds in both.
        seed: of the median's interval.

    Raises:
        ValueError: the lengths differ.
        CheckError: a value is not finite.
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(f"Expected two values per item; got {len(first)} and {len(second)}, which cannot be paired.")
    both = np.asarray([first, second], dtype=np.float64)
    _must_be_finite(both)
    differences = np.round(both[0] - both[1], _DECIMALS)
    median = estimate(differences, "median", seed=seed)
    if median is None:
        return None
    differing = differences[differences != 0]
    p_value, correlation = 1.0, 0.0
    if len(differing):
        ranks = stats.rankdata(np.abs(differing))
        favourable, unfavourable = ranks[differing > 0].sum(), ranks[differing < 0].sum()
        correlation = float((favourable - unfavourable) / ranks.sum())
        if len(differing) <= _EXACT:
            p_value = _exact_p_value(ranks, min(favourable, unfavourable))
        else:
            tested = stats.wilcoxon(differing, method="asymptotic")
            p_value = float(tested.pvalue)  # pyright: ignore[reportAttributeAccessIssue]  # a class made at run time
    return PairedTest(len(differences), len(differences) - len(differing), median, p_value, correlation)


def holm(p_values: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Return p-values adjusted for their number, in the order given (Holm 1979, *Scand. J. Stat.* 6:65).

    The smallest of m is multiplied by m, the next by m − 1 …; none falls below the one before it or
    exceeds 1. Tests may depend on each other in any way.

    Raises:
        ValueError: a p-value is not from 0 to 1.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    if not np.all((raw >= 0) & (raw <= 1)):
        raise ValueError(f"Expected p-values from 0 to 1; got {raw}.")
    order = np.argsort(raw)
    adjusted = np.empty_like(raw)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)))
    return adjusted


def per_item(
    values: Shaped[np.ndarray, " question"], items: Sequence[str], by: Literal["mean", "median"] = "mean"
) -> PerItem:
    """Return one value per item: the mean, or median, over its questions (wordings, directions).

    NaN stands for no value and is left out; an item with nothing else is dropped. Milestones, which may be
    *never*, want the median.

    Raises:
        ValueError: there is not one item name per value.
    """
    given, names = np.asarray(values, dtype=np.float64), np.asarray(items, dtype=str)
    if given.shape != names.shape:
        raise ValueError(f"Expected one item name per value; got {len(names)} names for {len(given)} values.")
    kept = ~np.isnan(given)
    found, item = np.unique(names[kept], return_inverse=True)
    # By item, then by value: floating-point sums depend on the order, results must not.
    ordered = given[kept][np.lexsort((given[kept], item))]
    groups = np.split(ordered, np.cumsum(np.bincount(item))[:-1]) if len(found) else []
    return PerItem(tuple(found.tolist()), np.array([_COMPUTED_BY[by](group) for group in groups], dtype=np.float64))


def later_than_all(layers: Sequence[int | None], n_layers: int) -> Float[np.ndarray, " item"]:
    """Return milestones as numbers, with n + 1 for never: it ranks later than every layer.

    Medians and ranks of these are sound. Means are not: how much later *never* is has no meaning.
    """
    return np.array([n_layers + 1 if layer is None else layer for layer in layers], dtype=np.float64)


def _exact_p_value(ranks: np.ndarray, lesser_sum: float) -> float:
    """Return the chance of rank sums this far apart when each sign is a coin's (Streitberg & Röhmel 1986).

    Layers tie nearly always. With ties scipy 1.17 takes seconds for 13 differences and approximates from 14.
    """
    doubled = np.rint(2 * ranks).astype(int)  # tied ranks are whole or half
    chance = np.zeros(doubled.sum() + 1)
    chance[0] = 1
    for rank in doubled:
        chance[rank:] += chance[:-rank].copy()
        chance /= 2
    return min(1.0, 2 * float(chance[: round(2 * lesser_sum) + 1].sum()))


def _must_be_finite(values: np.ndarray) -> None:
    if wrong := int(np.sum(~np.isfinite(values))):
        raise CheckError(
            f"Expected finite values; {wrong} of {values.size} are not. They would be lost in the result or spoil it: "
            "leave out items without a value on purpose, and turn 'never' into a layer with `later_than_all`."
        )
