import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerwise.errors import StudyError
from layerwise.measures.claims import Region, verdict
from layerwise.measures.uncertainty import Estimate

INF = math.inf
ENDS = st.floats(-1e6, 1e6)


def interval(low: float, high: float) -> Estimate:
    return Estimate((low + high) / 2, low, high, n=20, level=0.95, seed=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("> 0.5", Region(0.5, INF)),
        (">0", Region(0, INF)),
        (" > -1 ", Region(-1, INF)),
        ("< 1", Region(-INF, 1)),
        ("0.80 .. 0.85", Region(0.8, 0.85)),
        ("-1..1e3", Region(-1, 1000)),
        ("0 .. inf", Region(0, INF)),
    ],
)
def test_regions_are_read_from_text(text, expected):
    assert Region.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "0.5", ">= 0.5", ">", "> much", "0.8 ..", "0.8 - 0.85", "0 .. 1 .. 2", "80 % .. 85 %"]
)
def test_what_is_no_region_is_not_guessed(text):
    with pytest.raises(StudyError, match=r"such as '> 0.5'"):
        Region.parse(text)


@pytest.mark.parametrize("text", ["0.85 .. 0.80", "> nan", "> inf", "< -inf", "nan .. 1"])
def test_a_region_in_which_nothing_lies_is_refused(text):
    with pytest.raises(StudyError, match="no estimate can lie"):
        Region.parse(text)


def test_a_range_is_widened_on_both_sides_and_a_half_line_at_its_end():
    widened = Region(0.8, 0.85).widened(1 / 18)
    assert (widened.low, widened.high) == pytest.approx((0.8 - 1 / 18, 0.85 + 1 / 18))
    assert Region(0.5, INF).widened(0.1) == Region(0.4, INF)
    assert Region(-INF, 0.5).widened(0.1) == Region(-INF, 0.6)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.81, 0.84, "supported"),
        (0.8, 0.85, "supported"),
        (0.8, 0.8, "supported"),
        (0.79, 0.84, "inconclusive"),
        (0.7, 0.9, "inconclusive"),
        (0.85, 0.9, "inconclusive"),
        (0.7, 0.8, "inconclusive"),
        (0.86, 0.9, "not supported"),
        (0.1, 0.79, "not supported"),
    ],
)
def test_a_range_includes_its_ends(low, high, expected):
    assert verdict(interval(low, high), Region(0.8, 0.85)) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.1, 2, "supported"),
        (0, 2, "inconclusive"),
        (-1, 2, "inconclusive"),
        (-1, 0, "not supported"),
        (0, 0, "not supported"),
        (-2, -1, "not supported"),
    ],
)
def test_a_single_end_is_excluded(low, high, expected):
    assert verdict(interval(low, high), Region.parse("> 0")) == expected
    assert verdict(interval(-high, -low), Region.parse("< 0")) == expected


def test_nothing_is_judged_without_an_estimate():
    assert verdict(None, Region.parse("> 0")) == "cannot be judged"


@pytest.mark.parametrize("n_layers", range(1, 200))
def test_a_layer_at_a_widened_end_is_inside_whatever_rounding_does(n_layers):
    region = Region(0.8, 0.85).widened(1 / n_layers)
    for layer in range(n_layers + 2):
        # In whole numbers: .80 n − 1 ≤ layer ≤ .85 n + 1
        inside = 80 * n_layers - 100 <= 100 * layer <= 85 * n_layers + 100
        depth = layer / n_layers
        assert verdict(interval(depth, depth), region) == ("supported" if inside else "not supported")


@given(ends=st.tuples(ENDS, ENDS).map(sorted), bounds=st.tuples(ENDS, ENDS).map(sorted), by=st.floats(0, 10))
def test_widening_never_takes_support_away(ends, bounds, by):
    region, found = Region(*bounds), interval(*ends)
    order = ["not supported", "inconclusive", "supported"]
    assert order.index(verdict(found, region)) <= order.index(verdict(found, region.widened(by)))


@given(ends=st.tuples(ENDS, ENDS).map(sorted), bound=ENDS)
def test_a_claim_and_its_opposite_are_never_both_supported(ends, bound):
    found = interval(*ends)
    both = {verdict(found, Region(bound, INF)), verdict(found, Region(-INF, bound))}
    assert both in (
        {"supported", "not supported"},
        {"inconclusive"},
        {"inconclusive", "not supported"},
        {"not supported"},
    )
