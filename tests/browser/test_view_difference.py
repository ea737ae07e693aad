"""The difference of two traces: which tokens, layers and token ids belong together, and what is told of them."""

import numpy as np
import pytest

from .view_modules import viewer_modules
from .view_pages import (
    PROMPT,
    WORDS,
    cell_at,
    changed,
    colour_at,
    document,
    focused,
    frames,
    needs_chromium,
    tell,
)

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def modules(browser):
    with viewer_modules(browser) as made:
        yield made


def sequence(texts, generated=0, positions=None):
    tokens = [{"id": index, "text": text} for index, text in enumerate(texts)]
    return {
        "tokens": tokens,
        "generated": generated,
        "positions": list(range(len(tokens))) if positions is None else positions,
    }


def pairs_of(modules, first, second, function="alignTokens"):
    found = modules.call(f"return m.{function}(first, second);", "data/align", first=first, second=second)
    return [(pair["first"], pair["second"], pair["same"]) for pair in found]


@pytest.mark.parametrize(
    ("first", "second", "pairs"),
    [
        ("abcd", "abcd", [(0, 0, True), (1, 1, True), (2, 2, True), (3, 3, True)]),
        ("abcd", "abxcd", [(0, 0, True), (1, 1, True), (2, 3, True), (3, 4, True)]),
        ("abxcd", "abcd", [(0, 0, True), (1, 1, True), (3, 2, True), (4, 3, True)]),
        ("axcd", "aycd", [(0, 0, True), (1, 1, False), (2, 2, True), (3, 3, True)]),
        ("xbcd", "ybcd", [(0, 0, False), (1, 1, True), (2, 2, True), (3, 3, True)]),
        ("axcd", "ayzcd", [(0, 0, True), (2, 3, True), (3, 4, True)]),
        ("abc", "abd", [(0, 0, True), (1, 1, True), (2, 2, False)]),
        ("abcd", "wxyz", [(3, 3, False)]),
        ("abc", "abcde", [(0, 0, True), (1, 1, True), (2, 2, True)]),
        ("baba", "abab", [(1, 0, True), (2, 1, True), (3, 2, True)]),
        ("a", "a", [(0, 0, True)]),
    ],
    ids=[
        "the same",
        "one inserted",
        "one left out",
        "one replaced",
        "the first replaced",
        "one replaced by two",
        "other ends",
        "nothing in common",
        "one goes on",
        "shifted",
        "one token",
    ],
)
def test_tokens_are_aligned(modules, first, second, pairs):
    assert pairs_of(modules, sequence(first), sequence(second)) == pairs


def test_what_was_generated_is_aligned_where_it_is_equal(modules):
    first, second = sequence("abcde", generated=2), sequence("abxyz", generated=2)
    assert pairs_of(modules, first, second) == [(0, 0, True), (1, 1, True), (2, 2, False)]
    assert pairs_of(modules, sequence("abde", 2), sequence("abcde", 2))[-2:] == [(2, 3, True), (3, 4, True)]


def test_as_many_tokens_are_aligned_as_can_be(modules):
    """Beside a plain computation of the longest common subsequence's length, on random sequences."""
    random = np.random.default_rng(4)
    for _ in range(40):
        first, second = (list(random.choice(list("abc"), size=random.integers(0, 9))) for _ in range(2))
        longest = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
        for i, one in enumerate(first):
            for j, other in enumerate(second):
                longest[i + 1, j + 1] = longest[i, j] + 1 if one == other else max(longest[i, j + 1], longest[i + 1, j])
        found = modules.call("return m.alignTexts(first, second);", "data/align", first=first, second=second)
        assert len(found) == longest[-1, -1]
        assert all(first[i] == second[j] for i, j in found)
        assert found == sorted(found)
        assert len({i for i, _ in found}) == len({j for _, j in found}) == len(found)


def test_only_places_that_both_read_are_compared(modules):
    first, second = sequence("abcd", positions=[1, 3]), sequence("abxcd", positions=[0, 1, 4])
    assert pairs_of(modules, first, second, "alignPlaces") == [(0, 1, True), (1, 2, True)]


def test_without_a_common_place_the_ends_of_the_prompts_are_compared(modules):
    first, second = sequence("xab", positions=[2]), sequence("abq", positions=[2])
    assert pairs_of(modules, first, second, "alignPlaces") == [(0, 0, False)]
    nowhere = sequence("abq", positions=[0])
    assert pairs_of(modules, sequence("xyz", positions=[1]), nowhere, "alignPlaces") == []


def difference(modules, first, second, code):
    """Return what `code` makes of the difference `d` of two stories."""
    both = document(first, second)
    start = "const [first, second] = m.decodeDocument(both).traces; const d = m.differenceOf(first, second);"
    return modules.call(start + code, "data/decode", "data/difference", both=both)


def test_a_trace_does_not_differ_from_itself(modules):
    story = tell()
    all_of_it = """
      const found = [];
      for (let layer = 0; layer <= d.nLayers; layer++) for (let place = 0; place < d.positions.length; place++) {
        for (const { key } of d.colourings()) found.push(d.value(key, layer, place, 5)?.value ?? 0);
        found.push(d.cell(layer, place).same ? 0 : 1);
      }
      return [found, d.notes, d.warnings];
    """
    found, notes, warnings = difference(modules, story, story, all_of_it)
    assert not np.any(found)
    assert notes == warnings == []


def other_answer():
    """Return a story whose answer is " Munich", in a vocabulary in which it has another id."""
    words = list(WORDS)
    words[0], words[4] = words[4], words[0]
    return tell(words=words, seed=2)


@pytest.mark.parametrize(
    ("left", "said"),
    [(1, "1 position of the first, 0 of the second."), (2, "2 positions of the first, 0 of the second.")],
)
def test_what_was_left_out_is_counted(modules, left, said):
    first, second = tell(), tell(tokens=PROMPT[left:])
    [note] = difference(modules, first, second, "return d.notes;")
    assert note == f"Left out, since nothing corresponds: {said}"


def test_each_side_has_its_own_answer(modules):
    tops, cells = difference(
        modules,
        tell(seed=1),
        other_answer(),
        """
        const told = (top) => top.filter((token) => token.isAnswer).map(({ text }) => text);
        const marks = ({ text, isAnswer, otherText, otherIsAnswer }) => [text, isAnswer, otherText, otherIsAnswer];
        return [[told(d.top(12, 4)), told(d.topOther(12, 4))], [7, 12].map((layer) => marks(d.cell(layer, 4)))];
        """,
    )
    assert tops == [[" Berlin"], [" Munich"]]
    assert cells == [[" the", False, " the", False], [" Berlin", True, " Munich", True]]


def test_the_page_marks_each_sides_own_answer(open_view):
    page = open_view(document(tell(seed=1), other_answer()), state={"against": 1, "layer": 12, "place": 4})
    lists = page.locator(".lw-detail-top")
    assert [lists.nth(side).locator(".lw-is-answer bdi").all_text_contents() for side in (0, 1)] == [
        ["␣Berlin"],
        ["␣Munich"],
    ]


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [(8, 8, "; the answer"), (8, None, "; the first's answer"), (None, 8, "; the second's answer"), (None, None, None)],
)
def test_whose_answer_leads_is_said(open_view, first, second, said):
    stories = tell(seed=1, answer_from=first), tell(seed=2, answer_from=second)
    spoken = focused(open_view(document(*stories), state={"against": 1, "layer": 12, "place": 4}))
    assert said in spoken if said else "answer" not in spoken


def test_a_cell_is_marked_where_either_sides_answer_leads(open_view):
    def corner(first, second):
        stories = tell(seed=1, answer_from=first), tell(seed=2, answer_from=second)
        page = open_view(document(*stories), state={"against": 1, "layer": 12, "place": 0})
        frames(page)
        (left, _), (x, y) = (cell_at(page, stories[0], 12, place) for place in (3, 4))
        return colour_at(page, x + (x - left) / 2 - 4, y - 8)

    marked = corner(8, 8)
    assert corner(8, None) == corner(None, 8) == marked
    assert corner(None, None) != marked


def test_values_are_the_seconds_minus_the_firsts(modules):
    first, second = tell(seed=1), tell(seed=2, answer_from=5, lens="raw")
    found = difference(
        modules,
        first,
        second,
        """
        const rows = (read) => Array.from({ length: d.nLayers + 1 }, (_, layer) => read(layer));
        return {
          answer: rows((layer) => d.value("answer", layer, 4, null).value),
          token: rows((layer) => d.value("token", layer, 2, 0).value),
          top: rows((layer) => d.value("top", layer, 1, null).value),
          entropy: rows((layer) => d.measure("entropy_bits")(layer, 3)),
          range: d.colourings().filter(({ key }) => key === "top").map((one) => [one.low, one.high, one.diverging])[0],
          lens: d.lens,
          model: d.model.name,
        };
        """,
    )
    one, other = np.exp(first.logprobs), np.exp(second.logprobs)
    np.testing.assert_allclose(found["answer"], (other - one)[:, 4, 0], atol=1e-6)
    np.testing.assert_allclose(found["token"], (other - one)[:, 2, 0], atol=1e-6)
    np.testing.assert_allclose(found["top"], (other.max(-1) - one.max(-1))[:, 1], atol=1e-6)
    entropy = [-(p * np.log2(p)).sum(-1)[:, 3] for p in (one, other)]
    np.testing.assert_allclose(found["entropy"], entropy[1] - entropy[0], atol=1e-5)
    low, high, diverging = found["range"]
    assert -low == high == pytest.approx(np.abs(other.max(-1) - one.max(-1)).max(), abs=1e-6)
    assert diverging
    assert (found["lens"], found["model"]) == ("logit → raw", "toy")


def test_a_difference_of_bounds_is_told_as_the_range_that_it_is(modules):
    """Token 20 is neither tracked nor a leader: where a top list lacks it, it has at most that list's last."""
    first, second = tell(seed=1, top_k=3), tell(seed=2, top_k=3)
    found = difference(
        modules,
        first,
        second,
        """
        const at = (layer) => [0, 1, 2].map((place) => d.value("token", layer, place, 20));
        return Array.from({ length: 13 }, (_, layer) => at(layer));
        """,
    )
    one, other = np.exp(first.logprobs[..., 20]), np.exp(second.logprobs[..., 20])
    bounded = 0
    for layer, row in enumerate(found):
        for place, value in enumerate(row):
            change = other[layer, place] - one[layer, place]
            assert value["low"] - 1e-6 <= change <= value["high"] + 1e-6
            assert abs(value["value"]) <= abs(change) + 1e-6, "never more than has certainly changed"
            assert value["bound"] == (value["low"] != value["high"])
            bounded += value["bound"]
    assert 0 < bounded < 39, "the case has both"


def test_the_answers_are_compared_only_behind_both_prompts(modules, open_view):
    """The second prompt goes on after the first's end, where its answer was not read."""
    first, second = tell(), tell(tokens=(11, 8, 9, 3, 10, 14), seed=3)
    assert difference(modules, first, tell(seed=3), "return d.promptPlace;") == 4
    assert difference(modules, first, second, "return [d.columns.length, d.promptPlace];") == [5, None]
    page = open_view(document(first, second), state={"against": 1, "place": 4})
    assert "answer" not in page.locator(".lw-detail-table", has_text="Followed").inner_text()


@pytest.mark.parametrize(
    ("value", "said"),
    [(-0.3, "−30 %"), (-0.99999, "<−99.9 %"), (-0.00001, ">−0.01 %"), (0.99999, ">99.9 %"), (0, "0 %")],
)
def test_a_negative_probability_keeps_the_sense_of_its_bound(modules, value, said):
    assert modules.call("return m.quantity(value, 'probability');", "shared/text", value=value) == said


def test_layers_are_matched_by_number_or_else_by_depth(modules):
    layers = "return Array.from({ length: d.nLayers + 1 }, (_, layer) => d.otherLayer(layer));"
    assert difference(modules, tell(12), tell(12, seed=3), layers) == list(range(13))
    assert difference(modules, tell(4, answer_from=2), tell(12), layers) == [0, 3, 6, 9, 12]
    assert difference(modules, tell(12), tell(6, answer_from=3), layers)[-3:] == [5, 6, 6]
    notes = difference(modules, tell(4, answer_from=2), tell(12), "return d.notes;")
    assert notes == ["Layers are matched by depth: the first has 4, the second 12."]
    deep = difference(modules, tell(4, answer_from=2), tell(12, seed=7), "return d.cell(2, 4).otherProb;")
    assert deep == pytest.approx(np.exp(tell(12, seed=7).logprobs[6, 4].max()), abs=1e-6)


def test_tokens_of_another_vocabulary_are_found_by_their_text(modules):
    turned = WORDS[::-1]
    last = len(WORDS) - 1
    prompt = [last - token for token in PROMPT]
    first, second = tell(seed=1), tell(seed=2, tokens=prompt, words=turned, with_answer=False)
    found = difference(
        modules,
        first,
        second,
        """
        return {
          germany: [d.ids.toSecond(3), d.ids.fromSecond(28), d.textOf(d.ids.fromSecond(28))],
          top: d.topOther(6, 4).map(({ id, text }) => [id, text, d.textOf(id)]),
          prob: d.topOther(6, 4).map(({ id }) => d.probOfOther(id, 6, 4).prob),
          columns: d.columns.length,
        };
        """,
    )
    assert found["germany"] == [28, 3, " Germany"]
    assert found["columns"] == len(PROMPT)
    for token, text, told in found["top"]:
        assert text == told == WORDS[token]
    best = np.sort(np.exp(second.logprobs[6, 4]))[::-1][:5]
    np.testing.assert_allclose(found["prob"], best, atol=1e-6)


def test_a_token_that_only_the_second_knows_keeps_its_text(modules):
    first = tell(seed=1)
    second = tell(seed=2, words=tuple(word if index < 12 else f" new {index}" for index, word in enumerate(WORDS)))
    told = difference(
        modules,
        first,
        second,
        """
        const ids = d.sides[1].knownIds().map((id) => d.ids.fromSecond(id));
        return [ids.map((id) => d.textOf(id)), new Set(ids).size, ids.map((id) => d.ids.toSecond(id))];
        """,
    )
    assert told[0] == [second.document["texts"]["texts"][i] for i in told[2]]
    assert told[1] == len(WORDS), "no two tokens fall together"


def test_the_page_shows_both_sides(open_view):
    first, second = tell(seed=1), tell(seed=1, answer_from=5, lens="raw")
    page = open_view(document(first, second), state={"against": 1, "layer": 6})
    assert page.locator(".lw-detail-top").count() == 2
    heads = page.locator(".lw-detail-side").all_inner_texts()
    assert heads[0].startswith("First") and "logit" in heads[0]
    assert heads[1].startswith("Second") and "raw" in heads[1]
    leading = [side.locator(".lw-token").first.inner_text() for side in page.locator(".lw-detail-top").all()]
    assert leading == ["␣the", "␣Berlin"]
    row = page.locator(".lw-chart-legend .lw-is-answer")
    one, other = row.locator(".lw-legend-number").inner_text().split(" → ")
    assert float(one.rstrip(" %")) == pytest.approx(100 * np.exp(first.logprobs[6, 4, 0]), abs=0.5)
    assert float(other.rstrip(" %")) == pytest.approx(100 * np.exp(second.logprobs[6, 4, 0]), abs=0.5)
    assert page.locator(".lw-curves .lw-marker-hollow").count() > 0
    assert "Dashed: the second" in page.locator(".lw-chart-key").inner_text()
    assert "logit lens → raw lens" in page.locator(".lw-badge-summary").inner_text()


def test_a_replaced_token_is_shown_as_both_and_said(open_view):
    other = (11, 8, 9, 28, 10)  # " Europe" in place of " Germany"
    page = open_view(document(tell(), tell(tokens=other, seed=5)), state={"against": 1, "place": 3})
    assert page.locator(".lw-detail-title .lw-token").inner_text() == "␣Germany→␣Europe"
    assert "One position compares two different tokens." in page.locator(".lw-badge-warnings").inner_text()


def test_where_nothing_can_be_compared_the_first_stays_and_it_is_said(modules):
    def apart(whole):
        whole["traces"][1]["tokens"].append([31, WORDS[31]])  # the prompt's last, after which nothing was read

    both = changed(document(tell(with_answer=False), tell(tokens=(20, 21, 22, 23, 24, 25), with_answer=False)), apart)
    kind, problem = modules.call(
        """
        const shown = m.createShown(m.decodeDocument(both)).traceOf({ trace: 0, against: 1, question: null });
        return [shown.trace.kind, shown.problem];
        """,
        "data/decode",
        "data/shown",
        both=both,
    )
    assert kind == "trace"
    assert problem.startswith("These two traces cannot be compared")
