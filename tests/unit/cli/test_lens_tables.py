"""Tables of lenses in the terminal."""

from dataclasses import replace

import numpy as np
import pytest

from layerwise import Request
from layerwise.cli.lens_tables import leading_layers, print_leading
from layerwise.lens_spec import METHODS, caveat_of


@pytest.fixture(scope="module")
def traces(tiny):
    return tiny.trace_all([Request("The capital of Germany is")], lenses=["logit", "raw"])[0]


def leading_at(trace, layers):
    ids = np.full_like(trace.top_ids, trace.output[0].id + 1)
    ids[layers] = trace.output[0].id
    return replace(trace, top_ids=ids)


@pytest.mark.parametrize(
    ("layers", "first_and_settled"),
    [([4], (4, 4)), ([1, 3, 4], (1, 3)), ([0, 1, 2, 3, 4], (0, 0)), ([2], (2, None)), ([], (None, None))],
)
def test_where_a_token_leads_first_and_for_good(traces, layers, first_and_settled):
    assert leading_layers(leading_at(traces[0], layers)) == first_and_settled


def test_several_lenses_are_compared_and_one_is_not(traces, capsys):
    print_leading(traces[:1])
    assert capsys.readouterr().out == ""
    print_leading([leading_at(traces[0], [3, 4]), leading_at(traces[1], [])])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    logit, raw = [words for words in lines if words[:1] in (["logit"], ["raw"])]
    assert (logit, raw) == (["logit", "3", "3"], ["raw", "never", "never"])


def test_every_fitted_lens_has_a_caveat_and_the_others_have_none():
    assert caveat_of("logit") is caveat_of("raw") is None
    for method in METHODS:
        assert str(caveat_of(f"{method}:mine")).startswith(f"The {method}:mine lens: it is ")
