"""Wordings compared by what is known in them, and by what leads where nothing is, on cases made by hand."""

from layerwise.analysis.set_summary import cells
from layerwise.analysis.wordings import compared, leading_instead, spreads


def asked(known_of, items=27, **changes):
    """Return a question per item and wording, of which the first so many are known."""
    return [
        {"item": f"i{at:02}", "direction": "d", "wording": wording, "known": at < known} | changes
        for wording, known in known_of.items()
        for at in range(items)
    ]


def test_a_spread_is_where_the_intervals_of_best_and_worst_do_not_overlap(cases):
    rows = asked({"record": 15, "statement": 9, "question": 0}) + asked({"x": 15, "y": 12}, set="near")
    made = cells(cases(rows), by_wording=True)
    [found] = spreads(made)
    assert (found.best.wording, found.worst.wording) == ("record", "question")
    assert found.best.known is not None
    assert found.worst.known is not None
    assert found.worst.known.high < found.best.known.low
    assert [len(each) for each in compared(made)] == [3, 2]


def test_the_widest_spread_comes_first(cases):
    rows = asked({"x": 20, "y": 2}, set="wide") + asked({"x": 27, "y": 0}, set="wider")
    assert [each.best.set for each in spreads(cells(cases(rows), by_wording=True))] == ["wider", "wide"]


def test_one_wording_is_compared_with_nothing(cases):
    made = cells(cases(asked({"x": 20})), by_wording=True)
    assert (compared(made), spreads(made)) == ([], [])


def test_what_leads_instead_is_counted_where_the_answer_is_not_known(cases):
    leads = ["↵", "↵", "↵", " the", " a", " b"]
    rows = [
        {"wording": "x", "known": at == 0, "leads": token, "begins": token == " b"} for at, token in enumerate(leads)
    ]
    [found] = leading_instead(cases(rows))
    assert (found.token, found.count, found.unknown, found.prevails) == ("↵", 2, 5, False)
    [most] = leading_instead(cases(rows[:4]))
    assert (most.count, most.unknown, most.prevails) == (2, 3, True)


def test_of_tokens_that_lead_as_often_the_first_by_character_is_told(cases):
    rows = [{"known": False, "leads": token, "begins": False} for token in "ba" * 2]
    assert [each.token for each in leading_instead(cases(rows))] == ["a"]
    assert [each.token for each in leading_instead(cases(rows[::-1]))] == ["a"]


def test_a_token_that_begins_the_answer_leads_not_instead_of_it(cases):
    assert leading_instead(cases([{"known": False, "leads": " ", "begins": True}] * 3)) == []
    assert leading_instead(cases([{}])) == []
