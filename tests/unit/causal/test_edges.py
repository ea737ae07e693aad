"""Edges of attention: which positions they are between, and what stands for them."""

import pytest

from layerwise.causal.edges import Edge, edges_of, placebos, usual_window
from layerwise.errors import LayerwiseError

PROMPT = "The capital of Germany is"


@pytest.fixture(scope="module")
def found(tiny):
    """Edges of the prompt with a token after it, as an answer of two tokens has one."""
    tokenizer, ids = tiny._loaded.tokenizer, tuple(tiny.tokenizer(PROMPT)["input_ids"])
    spans = {"subject": "Germany", "relation": "capital of"}
    return lambda *written, spans=spans: edges_of(tokenizer, ids, len(ids) + 1, written, spans)


def test_queries_of_one_span_see_keys_of_another(found):
    assert found("subject:last", "relation:subject", "first:rest", "last:last") == [
        Edge("subject", "last", (3,), (5,)),
        Edge("relation", "subject", (1, 2), (3,)),
        Edge("first", "rest", (0,), (4,)),
        Edge("last", "last", (5,), (5,)),
    ]
    assert [str(each) for each in found("subject:last", "subject:last")] == ["subject → last"]


def test_of_spans_that_overlap_in_order_only_what_can_be_seen_is_cut(found):
    overlapping = {"name": "Germany is", "phrase": "capital of Germany"}
    [edge] = found("name:phrase", spans=overlapping)
    assert edge == Edge("name", "phrase", (3,), (3,)), "not 4, which comes after; nor queries that come before"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("last:subject", "nothing to cut from last to subject: every position of last \\(5\\) comes after"),
        ("subject", "no edge of attention. Write FROM:TO"),
        ("subjekt:last", "no span called 'subjekt'; there are subject, relation, first, last, rest"),
        ("subject:", "no span called ''"),
    ],
)
def test_what_cannot_be_cut_is_refused(found, written, said):
    with pytest.raises(LayerwiseError, match=said):
        found(written)


def test_a_span_that_the_prompt_has_not_is_refused(tiny):
    tokenizer, ids = tiny._loaded.tokenizer, tuple(tiny.tokenizer(PROMPT)["input_ids"])
    with pytest.raises(LayerwiseError, match="'Spain', the span 'subject', stands nowhere"):
        edges_of(tokenizer, ids, len(ids), ["subject:last"], {"subject": "Spain"})
    with pytest.raises(LayerwiseError, match="'last' is a span that every prompt has"):
        edges_of(tokenizer, ids, len(ids), ["last:last"], {"last": "is"})
    with pytest.raises(LayerwiseError, match="'rest' is empty in this prompt"):
        edges_of(tokenizer, ids, len(ids), ["rest:last"], {"all": "capital of Germany"})


def test_a_placebo_has_as_many_other_keys_that_the_queries_see():
    edge = Edge("subject", "last", (4, 5), (19,))
    drawn = placebos(edge, 8, 0)
    assert len(drawn) == len({*drawn}) == 8
    for keys in drawn:
        assert len(keys) == 2
        assert {*keys} <= {*range(1, 19)} - {4, 5}
    assert placebos(edge, 8, 0) == drawn
    assert placebos(edge, 8, 1) != drawn
    assert {key for keys in placebos(edge, 60, 0) for key in keys} == {*range(1, 19)} - {4, 5}, "any of them may come"


def test_where_there_are_no_more_placebos_they_are_all_there_is():
    assert placebos(Edge("subject", "last", (3,), (5,)), 9, 0) == [(1,), (2,), (4,)]
    assert placebos(Edge("rest", "last", (1, 2), (4,)), 9, 0) == []
    assert placebos(Edge("last", "last", (4,), (4,)), 9, 0) == [(1,), (2,), (3,)]
    assert placebos(Edge("a", "b", (1,), (3, 5)), 9, 0) == [(2,), (4,)]


@pytest.mark.parametrize(("n_layers", "window"), [(48, 9), (28, 5), (30, 5), (18, 3), (4, 1), (1, 1)])
def test_the_window_is_a_fifth_of_the_blocks(n_layers, window):
    """The first two are GPT-2 XL and GPT-J, of which Geva et al. cut 9 and 5 at a time."""
    assert usual_window(n_layers) == window
