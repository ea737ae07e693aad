"""A measure is declared by a record's field, and nowhere else."""

from dataclasses import dataclass, field

import numpy as np

from layerwise.measures.measure import AMOUNT, RANK, Measure, measure, measured, measures_of


def _double(read):
    return 2 * read


@dataclass(frozen=True, eq=False, kw_only=True)
class Record:
    width: np.ndarray = field(metadata=measure("width", "bits", AMOUNT, _double))
    place: np.ndarray = field(metadata=measure("place", "", RANK, abs, shown=False))
    name: str
    height: np.ndarray | None = field(default=None, metadata=measure("height", "bits", AMOUNT, _double))


def test_measures_are_what_fields_declare_in_their_order():
    assert measures_of(Record) == {
        "width": Measure("width", "bits", AMOUNT, _double, shown=True),
        "place": Measure("place", "", RANK, abs, shown=False),
        "height": Measure("height", "bits", AMOUNT, _double, shown=True, later=True),
    }


def test_a_record_that_is_older_than_a_measure_holds_the_others():
    older = Record(name="a", width=np.zeros(2), place=np.ones(2))
    assert list(measured(older)) == ["width", "place"]
    newer = Record(name="a", width=np.zeros(2), place=np.ones(2), height=np.full(2, 3.0))
    assert measured(newer)["height"].tolist() == [3, 3]
