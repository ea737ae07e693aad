"""The chosen cell in full, the chart of pinned tokens, and the trust badge, beside the numbers that they come from."""

import re

import numpy as np
import pytest

from .view_modules import viewer_modules
from .view_pages import WORDS, changed, document, needs_chromium, tell, wait_for_state

pytestmark = needs_chromium

LAST = 4
"""The place after the prompt of `tell`."""


@pytest.fixture(scope="module")
def modules(browser):
    with viewer_modules(browser) as made:
        yield made


def shown(word):
    return word.replace(" ", "␣").replace("\n", "↵")


def percent(text):
    """Return a shown probability, and how far off rounding can have put it."""
    number = re.sub(r"[^\d.]", "", text)
    return float(number) / 100, 10 ** -(len(number.partition(".")[2]) + 2)


def is_shown(text, value):
    read, off = percent(text)
    return abs(read - value) <= off


def spoken(page):
    """Return layer and the pinned tokens' numbers, as the chart's slider tells them."""
    return page.get_by_role("slider").get_attribute("aria-valuetext")


def legend(page):
    """Return the chart's legend: token → number at the chosen layer."""
    rows = page.locator(".lw-legend-row").all()
    return {row.locator(".lw-token").first.inner_text(): row.locator(".lw-legend-number").inner_text() for row in rows}


# The chosen cell


def test_the_top_list_has_every_stored_token_and_what_is_left(open_view):
    story = tell()
    page = open_view(document(story), state={"layer": 7, "place": 2})
    probs = np.exp(story.logprobs[7, 2])
    order = np.argsort(-probs)[:5]
    rows = page.locator(".lw-detail-row").all()
    assert len(rows) == 6
    for row, token in zip(rows, order, strict=False):
        assert row.locator(".lw-token").inner_text() == shown(WORDS[token])
        assert is_shown(row.locator(".lw-detail-prob").inner_text(), probs[token])
        bar = row.locator(".lw-detail-bar > span").evaluate("(bar) => bar.offsetWidth / bar.parentElement.offsetWidth")
        assert bar == pytest.approx(probs[token], abs=0.02)
    assert rows[-1].inner_text().startswith("all others")
    assert is_shown(rows[-1].locator(".lw-detail-prob").inner_text(), 1 - probs[order].sum())
    title = page.locator(".lw-detail-title").inner_text()
    assert "Layer 7 of 12" in title and "depth 0.58" in title and "␣of (position 2)" in title


def test_measures_and_followed_tokens_have_their_numbers(open_view):
    story = tell()
    page = open_view(document(story), state={"layer": 7})
    here = story.logprobs[7, LAST]
    table = page.locator(".lw-detail-table", has_text="Measures")
    entropy = -(np.exp(here) * here).sum() / np.log(2)
    assert table.get_by_role("row", name="entropy").locator("td").inner_text() == f"{entropy:.2f} bits"
    rank = 1 + (here > here[0]).sum()
    followed = page.locator(".lw-detail-table", has_text="Followed")
    answer = followed.get_by_role("row").filter(has_text="answer ␣Berlin").locator("td").inner_text()
    assert answer.endswith(f", rank {rank}")
    assert is_shown(answer.split(",")[0], np.exp(here[0]))
    lead = here[0] - np.delete(here, 0).max()
    margin = followed.get_by_role("row", name="lead over the best other").locator("td").inner_text()
    assert margin == f"{lead:.2f} logits".replace("-", "−")


@pytest.mark.parametrize(
    ("described", "name", "unit"),
    [({"title": "width", "unit": "ems"}, "width", " ems"), ({}, "thickness", ""), (None, "thickness", "")],
)
def test_a_measure_is_called_as_the_document_says(open_view, described, name, unit):
    whole = document(tell())
    [trace] = whole["traces"]
    trace["measures"]["thickness"] = trace["measures"]["entropy_bits"]
    trace["described"]["thickness"] = described
    table = open_view(whole, state={"layer": 7}).locator(".lw-detail-table", has_text="Measures")
    entropy = table.get_by_role("row", name="entropy").locator("td").inner_text()
    assert entropy.endswith(" bits")
    assert table.get_by_role("row", name=name).locator("td").inner_text() == entropy.replace(" bits", unit)


def test_elsewhere_the_followed_token_is_read_and_the_answer_is_not(open_view):
    story = tell()
    page = open_view(document(story), state={"layer": 7, "place": 1})
    followed = page.locator(".lw-detail-table", has_text="Followed")
    [row] = followed.get_by_role("row").all()
    here = story.logprobs[7, 1]
    assert row.locator("td").inner_text().endswith(f", rank {1 + (here > here[0]).sum()}")


def test_a_token_of_the_list_is_pinned_and_unpinned_by_keyboard(open_view):
    page = open_view(document(tell()), state={"layer": 7})
    button = page.locator(".lw-detail-top button[data-pin][aria-pressed=false]").first
    token = button.locator(".lw-token").inner_text()
    assert token not in legend(page)
    button.focus()
    page.keyboard.press("Enter")
    assert token in legend(page)
    focused = page.locator(":focus")
    assert focused.get_attribute("aria-pressed") == "true"
    assert focused.locator(".lw-token").inner_text() == token
    page.keyboard.press("Space")
    assert token not in legend(page)


def test_a_token_of_the_list_colours_the_grid(open_view):
    page = open_view(document(tell()), state={"layer": 7})
    button = page.get_by_role("button", name="Colour the grid by").nth(2)
    token = int(button.get_attribute("data-colour"))
    button.click()
    pressed = page.locator(f"[data-colour='{token}']")
    assert pressed.get_attribute("aria-pressed") == "true"
    assert page.locator(".lw-legend").inner_text().startswith("a chosen token’s probability")
    pressed.click()
    assert page.locator(".lw-legend").inner_text().startswith("the top token’s probability")


# The chart


def test_by_itself_what_leads_at_any_layer_is_pinned_and_the_answer(open_view):
    story = tell()
    page = open_view(document(story))
    leaders = {WORDS[token] for token in story.logprobs[:, LAST].argmax(-1)}
    assert set(legend(page)) == {shown(word) for word in leaders | {" Berlin"}}
    assert page.locator(".lw-legend-row.lw-is-answer .lw-token").inner_text() == "␣Berlin"


def test_an_answer_that_never_leads_is_pinned_too(open_view):
    page = open_view(document(tell(answer_from=None)))
    assert list(legend(page)) == ["␣Berlin", "␣the"]


def many_leaders():
    """A trace whose position 1 has another leader at nearly every layer; token 5 leads at three, 6 at two."""
    story = tell(14, answer_from=9, with_answer=False)
    leading = [5, 5, 5, 6, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
    from layerwise.view.document import packed, unpacked

    def change(whole):
        [trace] = whole["traces"]
        ids = unpacked(trace["top_ids"]).copy()
        for layer, token in enumerate(leading):
            ids[layer, 1] = [token, 20, 21, 22, 23]
        trace["top_ids"] = packed(ids)
        trace["leaders"] = None

    return changed(document(story), change), leading


def test_of_many_leaders_those_are_pinned_that_lead_longest(open_view):
    whole, leading = many_leaders()
    page = open_view(whole, state={"place": 1})
    assert list(legend(page)) == [shown(WORDS[token]) for token in dict.fromkeys(leading)][:8]


def test_the_chart_has_the_numbers_and_arrows_choose_layers(open_view):
    story = tell()
    page = open_view(document(story))
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("Home")
    probs = np.exp(story.logprobs[:, LAST])
    for layer in range(13):
        assert slider.get_attribute("aria-valuenow") == str(layer)
        assert spoken(page).startswith(f"Layer {layer} of 12.")
        assert is_shown(legend(page)["␣Berlin"], probs[layer, 0])
        assert is_shown(legend(page)["␣the"], probs[layer, 1])
        assert f"Layer {layer} of 12" in page.locator(".lw-detail-title").inner_text()
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuenow") == "12"
    page.keyboard.press("PageDown")
    page.keyboard.press("ArrowLeft")
    assert slider.get_attribute("aria-valuenow") == "6"


def test_points_lie_where_their_numbers_say(open_view):
    story = tell(answer_from=None)
    page = open_view(document(story))
    lines = page.locator(".lw-axes text").evaluate_all(
        "(all) => all.map((one) => [one.textContent, one.getAttribute('y')])"
    )
    heights = {text: float(y) for text, y in lines if text.endswith("%")}
    top = max(heights, key=lambda text: percent(text)[0])
    scale = (heights["0 %"] - heights[top]) / percent(top)[0]
    line = page.locator(".lw-curve-answer .lw-curve").get_attribute("d")
    points = [tuple(map(float, point.split(" "))) for point in re.split("[ML]", line)[1:]]
    assert len(points) == 13
    expected = heights["0 %"] - scale * np.exp(story.logprobs[:, LAST, 0])
    np.testing.assert_allclose([y for _, y in points], expected, atol=0.11)
    assert np.ptp(np.diff([x for x, _ in points])) < 0.25


def test_a_bounded_probability_is_told_from_a_known_one(open_view):
    story = tell(top_k=3)
    page = open_view(document(story), state={"pins": [20], "place": 0})
    here = story.logprobs[:, 0]
    kth = -np.sort(-here, axis=-1)[:, 2]
    known = [layer for layer in range(13) if here[layer, 20] >= kth[layer] - 1e-9]
    assert len(known) < 13
    assert page.locator(".lw-limit").count() == 13 - len(known)
    assert page.locator(".lw-curves .lw-marker").count() == len(known)
    layer = next(layer for layer in range(13) if layer not in known)
    page.get_by_role("slider").focus()
    page.keyboard.press("Home")
    for _ in range(layer):
        page.keyboard.press("ArrowRight")
    [said] = legend(page).values()
    assert said.startswith("≤ ")
    assert is_shown(said, np.exp(kth[layer]))
    assert "at most this" in page.locator(".lw-chart-key").inner_text()


def test_spelling_variants_are_one_line_whose_probabilities_are_added(open_view):
    story = tell(top_k=32)
    page = open_view(document(story), state={"variants": True, "layer": 9})
    row = page.locator(".lw-legend-row.lw-is-answer")
    assert set(row.locator(".lw-token").all_inner_texts()) == {"␣Berlin", "␣berlin", "Berlin"}
    spelled = [index for index, word in enumerate(WORDS) if word.strip().lower() == "berlin"]
    assert len(spelled) == 3
    assert is_shown(row.locator(".lw-legend-number").inner_text(), np.exp(story.logprobs[9, LAST, spelled]).sum())


def test_a_sum_with_a_bounded_part_is_a_range(modules):
    whole = document(tell(top_k=3))
    ranges = modules.call(
        """
        const [trace] = m.decodeDocument(whole).traces;
        return m.pinnedSeries(trace, 4, [0], true)[0].sides[0];
        """,
        "data/decode",
        "detail/pins",
        whole=whole,
    )
    logprobs = tell(top_k=3).logprobs[:, LAST]
    spelled = [index for index, word in enumerate(WORDS) if word.strip().lower() == "berlin"]
    truth = np.exp(logprobs[:, spelled]).sum(-1)
    assert all(one["low"] - 1e-6 <= sure <= one["high"] + 1e-6 for one, sure in zip(ranges, truth, strict=True))


def test_a_pin_keeps_its_colour_when_others_go(modules):
    found = modules.call(
        """
        const slots = m.createPinSlots();
        const read = (ids) => Object.fromEntries(slots(ids));
        return [read([5, 6, 7]), read([5, 7]), read([5, 7, 8, 9])];
        """,
        "detail/pins",
    )
    assert found == [{"5": 0, "6": 1, "7": 2}, {"5": 0, "7": 2}, {"5": 0, "7": 2, "8": 1, "9": 3}]


def test_no_two_pins_look_alike(modules):
    looks = modules.call("return Array.from({ length: 32 }, (_, slot) => m.pinLook(slot));", "shared/svg")
    assert len({(look["class"], look["marker"]) for look in looks}) == 32
    assert len({look["marker"] for look in looks[:8]}) == 8, "eight differ by more than their colour"


def test_a_pin_that_the_address_names_twice_is_one(open_view):
    page = open_view(document(tell()), state={"pins": [3, 3, 20]})
    assert page.locator(".lw-legend-row").count() == 2


def test_pins_are_taken_away_and_come_back(open_view):
    page = open_view(document(tell(answer_from=None)))
    page.get_by_role("button", name="Unpin ␣the").click()
    assert list(legend(page)) == ["␣Berlin"]
    page.get_by_role("button", name="Unpin the answer").click()
    assert page.locator(".lw-chart-legend").inner_text() == "No token is pinned."
    page.get_by_role("button", name="Default pins").click()
    assert list(legend(page)) == ["␣Berlin", "␣the"]


def with_milestones(**reached):
    return changed(document(tell()), lambda whole: whole["traces"][0].update(milestones=reached))


def test_milestones_are_marked_and_lead_to_their_layers(open_view):
    page = open_view(with_milestones(settled_top1=8, first_top1=8, copy=None, half_entropy=3))
    told = page.locator(".lw-milestone").all_inner_texts()
    assert [text.split(" layer ")[1] for text in told] == ["3", "8", "8"]
    assert page.locator(".lw-flag").count() == 3
    page.get_by_role("button", name="entropy halved").click()
    assert spoken(page).startswith("Layer 3 of 12.")


def test_milestones_are_of_the_prompts_end_only(open_view):
    page = open_view(with_milestones(settled_top1=8), state={"place": 1})
    assert page.locator(".lw-milestone").count() == page.locator(".lw-flag").count() == 0


def test_hovering_tells_numbers_and_a_click_chooses_the_layer(open_view):
    story = tell()
    page = open_view(document(story))
    plot = page.get_by_role("slider")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    ticks = page.locator(".lw-axes text").evaluate_all(
        "(all) => all.map((one) => [one.textContent, one.getAttribute('x')])"
    )
    [x] = [float(at) for text, at in ticks if text == "4"]
    page.mouse.move(box["x"] + x, box["y"] + 60)
    tip = page.locator(".lw-chart-tip")
    assert "Layer 4 of 12" in tip.inner_text()
    rows = {
        row.locator(".lw-token").inner_text(): row.locator(".lw-legend-number").inner_text()
        for row in tip.locator(".lw-chart-tip-row").all()
    }
    assert rows.keys() == legend(page).keys()
    assert is_shown(rows["␣Berlin"], np.exp(story.logprobs[4, LAST, 0]))
    page.mouse.click(box["x"] + x, box["y"] + 60)
    assert spoken(page).startswith("Layer 4 of 12.")
    page.mouse.move(2, 2)
    assert tip.is_hidden()


def test_the_axis_can_be_logarithmic(open_view):
    page = open_view(document(tell()))
    before = page.locator(".lw-curve-answer .lw-curve").get_attribute("d")
    page.get_by_role("button", name="Logarithmic axis").click()
    after = page.locator(".lw-curve-answer .lw-curve").get_attribute("d")
    assert before != after and "NaN" not in after
    wait_for_state(page, log=True)
    page.reload()
    page.get_by_role("button", name="Linear axis").click()
    assert page.locator(".lw-curve-answer .lw-curve").get_attribute("d") == before


def several_answers():
    """A trace whose answer is one of two tokens; together they have what both have."""
    story = tell()

    def change(whole):
        answer = whole["traces"][0]["answer"]
        answer.update(ids=[0, 7], texts=[" Berlin", "Berlin"])

    return changed(document(story), change)


def test_an_answer_of_several_tokens_is_a_pin_of_its_own(open_view):
    page = open_view(several_answers())
    row = page.locator(".lw-legend-row.lw-is-answer")
    assert row.locator(".lw-token").all_inner_texts() == ["␣Berlin", "Berlin"]
    page.locator(".lw-detail-top button[data-pin='0']").click()
    assert row.count() == 1, "the answer stays while its token comes or goes"


# The badge


def test_the_badge_says_in_words_what_was_checked(open_view):
    page = open_view(document(tell()))
    badge = page.locator(".lw-badge")
    line = badge.locator("summary").inner_text()
    for part in ("Checked", "logit lens", "float32", "identity 1.0e−6 of 1.0e−3 allowed"):
        assert part in line
    assert page.locator(".lw-badge-body").is_hidden()
    badge.locator("summary").focus()
    page.keyboard.press("Enter")
    body = page.locator(".lw-badge-body").inner_text()
    assert "The last layer agrees with the model's own output." in body
    assert "device\tcpu" in body and "layerwise 0.1" in body


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trust": {"level": "stated", "sentences": ["Ran in bfloat16."]}}, "Checked, with reservations"),
        ({"trust": {"level": "stated", "sentences": ["Not stored."]}, "checks": None}, "Not all checked"),
    ],
)
def test_reservations_stand_in_the_badges_first_line(open_view, change, said):
    page = open_view(changed(document(tell()), lambda whole: whole["traces"][0].update(change)))
    assert said in page.locator(".lw-badge-summary").inner_text()


def test_warnings_are_seen_without_opening_anything(open_view):
    warning = "At layers 0 to 3 the lens reads back the token that was put in."
    page = open_view(changed(document(tell()), lambda whole: whole["traces"][0].update(warnings=[warning])))
    assert page.locator(".lw-badge-warning").is_visible()
    assert page.locator(".lw-badge-warning").inner_text() == warning


# Untrusted text


HOSTILE = (
    "<script>document.title='ran'</script>",
    "<img src=x onerror=\"document.title='ran'\">",
    "\u202egnirts\u0000\u0007\n",
    "javascript:document.title='ran'",
    "</bdi></style><!--",
    "שלום",
    "y" * 10_000,
)


def test_hostile_text_is_shown_as_text_and_breaks_no_layout(open_view):
    story = tell(words=HOSTILE + WORDS[len(HOSTILE) :], tokens=range(len(HOSTILE)), model=HOSTILE[1], top_k=12)

    def change(whole):
        whole["traces"][0].update(
            warnings=[HOSTILE[0] * 50],
            milestones={HOSTILE[0]: 3, "constructor": 2},
            trust={"level": "x", "sentences": HOSTILE},
        )
        whole["traces"][0]["checks"]["covered_by"] = HOSTILE[1] * 100

    page = open_view(
        changed(document(story), change), state={"variants": True, "pins": list(range(7))}, size=(420, 900)
    )
    page.locator(".lw-badge-summary").click()
    assert page.title() != "ran"
    assert page.locator(".lw-view :is(script, img, style)").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 420
    tokens = page.locator(".lw-legend-row .lw-token").all_inner_texts()
    assert any(token.startswith("<script>") for token in tokens)
    assert max(map(len, tokens)) <= 24
    assert not re.search("[\u202e\u0000\u0007]", page.locator(".lw-view").inner_text())
