"""A measure: one number per layer, and where it is read per position. A record's field declares it.

The field says name and type, the docstring below it the definition, and its metadata the rest (`measure`). All else
follows from there: how it is taken, stored, checked when it is read back, tabulated, shown and documented. A field with
the default None declares a measure that came later, which what was written before lacks, or that is taken `sometimes`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np

_KEY = "measure"


@dataclass(frozen=True)
class Range:
    """Where a measure's values lie, both ends included; numbers that are not whole may lie beyond by rounding."""

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False
    """Integers only."""


NUMBER = Range()
AMOUNT = Range(low=0)
SHARE = Range(low=0, high=1)
COSINE = Range(low=-1, high=1)
LOGPROB = Range(high=0)
COUNT = Range(low=0, whole=True)
RANK = Range(low=1, whole=True)


@dataclass(frozen=True)
class Measure:
    """What is declared of a measure beside its name, type and definition."""

    title: str
    """What charts and tables call it."""
    unit: str
    """Empty where there is none."""
    range: Range
    take: Callable[[Any], Any]
    """Returns its values from what was read, in the record's axes; None where they make no sense."""
    shown: bool
    """Whether data frames and views have it; what is stored always does."""
    sometimes: bool = False
    """Whether it makes sense in some readings only. Traces lack it elsewhere; stored runs have null."""
    later: bool = False
    """Whether files and runs were written before there was any."""


def measure(
    title: str,
    unit: str,
    range: Range,
    take: Callable[[Any], Any],
    *,
    shown: bool = True,
    sometimes: bool = False,
) -> dict[str, Any]:
    """Return the metadata of a dataclass's field with which it declares a measure."""
    return {_KEY: Measure(title, unit, range, take, shown, sometimes)}


@cache
def measures_of(record: type) -> dict[str, Measure]:
    """Return the measures that a dataclass declares, by name and in its order."""
    declared = [field for field in fields(record) if _KEY in field.metadata]
    found = {field.name: (field.metadata[_KEY], field.default is None) for field in declared}
    return {name: replace(each, later=lacked and not each.sometimes) for name, (each, lacked) in found.items()}


def measured(record: Any) -> dict[str, np.ndarray]:
    """Return the values that a record holds of its measures, by name; without those that it was written before."""
    values = {name: getattr(record, name) for name in measures_of(type(record))}
    return {name: each for name, each in values.items() if each is not None}
