"""The grid and what is above it, in a real browser: what is shown, mouse and keys, choosers, the address."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from .view_pages import (
    FOCUSED,
    GRID,
    cell_at,
    changed,
    choose_colour,
    colour_at,
    document,
    focused,
    frames,
    needs_chromium,
    state_of,
    tell,
)  # fmt: skip

pytestmark = needs_chromium


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({}, "“␣Berlin” first leads at layer 8 of 12, replacing “␣the”, and stays in front to the end."),
        (
            {"unsettled": [9]},
            "“␣Berlin” first leads at layer 8 of 12, replacing “␣the”; it stays in front from layer 10 on.",
        ),
        (
            {"unsettled": [12]},
            "“␣Berlin” first leads at layer 8 of 12, replacing “␣the”; it is last in front at layer 11,",
        ),
        ({"answer_from": 12}, "“␣Berlin” leads at the last layer only, 12 of 12, replacing “␣the”."),
        ({"answer_from": None}, "“␣Berlin” never leads; it comes closest at layer"),
        ({"answer_from": 0}, "“␣Berlin” first leads at layer 0 of 12, and stays in front to the end."),
        ({"with_answer": False}, "it leads from layer 8 of 12 on, replacing “␣the”."),
    ],
)
def test_headline_says_where_the_answer_appears_and_instead_of_what(open_view, told, sentence):
    story = tell(**told)
    page = open_view(document(story))
    said = page.locator(".lw-headline").text_content()
    assert sentence in said
    output = story.document["output"][0]
    assert f"“{output['text'].replace(' ', '␣')}”" in said
    assert f"{100 * output['prob']:.0f} %" in said


def test_an_answer_decided_by_a_later_token_replaces_nothing(open_view):
    def later(whole):
        whole["traces"][0]["answer"]["deciding"] = {"id": 0, "text": " Berlin", "index": 1}
        whole["traces"][0]["answer"]["ids"] = []

    said = open_view(changed(document(tell()), later)).locator(".lw-headline").text_content()
    assert "told apart by its token “␣Berlin”, first leads at layer 8 of 12" in said
    assert "replacing" not in said


def test_the_focus_begins_at_the_output_and_is_said_in_words(open_view):
    story = tell()
    page = open_view(document(story))
    prob = np.exp(story.logprobs[12, 4, 0])
    assert (
        focused(page) == f"Layer 12 of 12, after “is”, position 4: “Berlin” leads with {100 * prob:.0f} %; the answer."
    )
    grid = page.locator(GRID)
    assert grid.get_attribute("aria-rowcount") == "13"
    assert grid.get_attribute("aria-colcount") == "5"
    assert page.locator(FOCUSED).get_attribute("id") == grid.get_attribute("aria-activedescendant")


def test_colours_order_the_values_and_an_answer_has_a_mark_of_its_own(open_view):
    story = tell()
    page = open_view(document(story))
    frames(page)
    least, most = (
        np.unravel_index(find(np.exp(story.logprobs).max(-1)), story.logprobs.shape[:2])
        for find in (np.argmin, np.argmax)
    )
    # Near a cell's lower edge there is no text.
    light, dark = (
        sum(colour_at(page, x, y + 7)) for x, y in (cell_at(page, story, *map(int, at)) for at in (least, most))
    )
    assert light > dark
    x, y = cell_at(page, story, 9, 4)
    right = page.evaluate("document.querySelector('.lw-grid-sizer').getBoundingClientRect().right")
    marked, plain = colour_at(page, right - 4, y - 9), colour_at(page, right - 4, y - 9 + 5 * 22)
    assert marked[0] > 150 > marked[2], "orange"
    assert plain != marked
    assert x < right


def test_hover_shows_the_top_list_with_bars(open_view):
    story = tell()
    page = open_view(document(story))
    page.mouse.move(*cell_at(page, story, 10, 4))
    tip = page.locator(".lw-tip").first
    frames(page)
    assert tip.is_visible()
    assert "Layer 10, after ␣is (position 4)" in tip.text_content()
    rows = tip.locator(".lw-tip-row:visible")
    order = np.argsort(-story.logprobs[10, 4])[:5]
    words = [story.document["texts"]["texts"][token].replace(" ", "␣").replace("\n", "↵") for token in order]
    assert rows.locator("bdi").all_text_contents() == words
    widths = [row.bounding_box()["width"] for row in rows.locator(".lw-tip-bar").all()]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] / rows.first.bounding_box()["width"] == pytest.approx(
        np.exp(story.logprobs[10, 4, order[0]]), abs=0.02
    )
    page.mouse.move(5, 5)
    frames(page)
    assert not tip.is_visible()


def test_escape_puts_the_tooltip_away(open_view):
    story = tell()
    page = open_view(document(story))
    page.mouse.move(*cell_at(page, story, 10, 2))
    page.locator(GRID).focus()
    assert page.locator(".lw-tip").first.is_visible()
    page.keyboard.press("Escape")
    assert not page.locator(".lw-tip").first.is_visible()


def test_a_click_moves_the_focus_and_the_address(open_view):
    story = tell()
    page = open_view(document(story))
    page.mouse.click(*cell_at(page, story, 3, 1))
    assert focused(page).startswith("Layer 3 of 12, after “capital”, position 1:")
    assert state_of(page) == {"layer": 3, "place": 1}


def test_keys_move_the_focus_and_stop_at_the_edges(open_view):
    page = open_view(document(tell()))
    page.locator(GRID).focus()
    steps = [
        ("ArrowDown", "Layer 11", "position 4"),
        ("ArrowUp", "Layer 12", "position 4"),
        ("ArrowUp", "Layer 12", "position 4"),
        ("ArrowLeft", "Layer 12", "position 3"),
        ("ArrowRight", "Layer 12", "position 4"),
        ("ArrowRight", "Layer 12", "position 4"),
        ("Home", "Layer 12", "position 0"),
        ("PageDown", "Layer 4", "position 0"),
        ("End", "Layer 4", "position 4"),
        ("PageDown", "Layer 0", "position 4"),
        ("PageUp", "Layer 8", "position 4"),
        ("Control+Home", "Layer 12", "position 0"),
        ("Control+End", "Layer 0", "position 4"),
    ]
    for key, layer, position in steps:
        page.keyboard.press(key)
        said = focused(page)
        assert said.startswith(f"{layer} of 12"), key
        assert f"{position}:" in said, key


def test_enter_pins_the_cells_top_token_and_unpins_it(open_view):
    story = tell()
    page = open_view(document(story))
    page.locator(GRID).focus()
    page.keyboard.press("ArrowLeft")
    top = int(np.argmax(story.logprobs[12, 3]))
    page.keyboard.press("Enter")
    first = state_of(page)["pins"]
    page.keyboard.press("Enter")
    second = state_of(page)["pins"]
    assert (top in first) != (top in second)


def test_everything_is_reached_by_keys_alone(open_view):
    page = open_view(document(tell(), tell(lens="raw", seed=2)))
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """() => { const at = document.activeElement;
                return `${at.getAttribute('role') ?? at.tagName.toLowerCase()} ${at.labels?.[0]?.textContent
                    ?? at.getAttribute('aria-label') ?? at.textContent}`.slice(0, 60); }"""
        )
        seen.append(found)
    for wanted in (
        "grid ",
        "button logit",
        "button raw",
        "select Compare with",
        "select Colour",
        "summary View",
        "summary Export",
    ):
        assert any(one.startswith(wanted) for one in seen), (wanted, seen)


def test_the_state_survives_a_reload(open_view):
    story = tell()
    page = open_view(document(story))
    page.mouse.click(*cell_at(page, story, 5, 2))
    choose_colour(page, "entropy_bits")
    kept = state_of(page)
    said = focused(page)
    assert kept == {"layer": 5, "place": 2, "colour": "entropy_bits"}
    page.reload()
    page.wait_for_selector(FOCUSED, state="attached")
    assert focused(page) == said
    assert page.get_by_role("combobox", name="Colour", exact=True).input_value() == "entropy_bits"
    assert state_of(page) == kept


@pytest.mark.parametrize(
    "asked",
    [
        {
            "layer": 99,
            "place": -1,
            "trace": 7,
            "against": 3,
            "colour": "no such",
            "unknown": 1,
            "from": 50,
            "stride": 0,
        },
        {"layer": "5", "place": [1], "pins": "all", "theme": "javascript:alert(1)", "tab": "study", "question": 3},
        {"__proto__": {"layer": 1}, "constructor": 5, "token": 1e9, "filter": 3},
        "%7Bnot json",
        "%E0%A4%A",
        "[1]",
        "null",
    ],
)
def test_an_address_that_asks_for_nonsense_is_ignored(open_view, asked):
    page = open_view(document(tell()), state=asked)
    assert focused(page).startswith("Layer 12 of 12, after “is”, position 4:")


def test_an_address_can_be_changed_while_the_page_is_open(open_view):
    page = open_view(document(tell()))
    page.evaluate("location.hash = encodeURIComponent(JSON.stringify({layer: 2, place: 0}))")
    expect(page.locator(FOCUSED)).to_have_text(re.compile("^Layer 2 of 12"))


def test_a_tokens_probability_is_hatched_where_it_is_only_bounded(open_view):
    story = tell(top_k=2)
    leaders = story.document["leaders"][1]["ids"]
    token = next(t for t in range(2, 32) if t not in leaders and t not in np.argsort(-story.logprobs[4, 1])[:2])
    page = open_view(document(story), state={"colour": "token", "token": token, "layer": 4, "place": 1})
    frames(page)
    bound = 100 * np.exp(np.sort(story.logprobs[4, 1])[-2])
    assert f"a chosen token’s probability at most {bound:.{bound < 9.95:d}f} %" in focused(page)
    assert page.get_by_text("not stored: at most this colour").is_visible()

    def colours_along_the_lower_edge():
        x, y = cell_at(page, story, 4, 1)
        return {tuple(colour_at(page, x + step, y + 7)) for step in range(-8, 8)}

    assert len(colours_along_the_lower_edge()) > 1, "stripes"
    choose_colour(page, "answer")
    assert len(colours_along_the_lower_edge()) == 1, "the answer was tracked"


def test_any_token_can_be_chosen_for_the_colours(open_view):
    story = tell()
    page = open_view(document(story))
    choose_colour(page, "token")
    field = page.get_by_role("combobox", name="Token", exact=True)
    assert field.input_value() == "␣Berlin #0"
    field.fill("munich")
    field.press("Enter")
    assert state_of(page)["token"] == 4
    assert field.input_value() == "␣Munich #4"
    field.fill("nothing is so called")
    field.press("Tab")
    assert field.get_attribute("aria-invalid") == "true"
    assert state_of(page)["token"] == 4


def test_the_answers_probability_can_be_shown_at_every_position(open_view):
    story = tell()
    page = open_view(document(story), state={"colour": "answer", "layer": 6, "place": 2})
    prob = np.exp(story.logprobs[6, 2, 0])
    assert f"the answer’s probability {100 * prob:.1f} %" in focused(page)


def test_a_stride_leaves_layers_out_and_keys_keep_to_the_rest(open_view):
    page = open_view(document(tell()), state={"stride": 5})
    grid = page.locator(GRID)
    assert grid.get_attribute("aria-rowcount") == "4"
    grid.focus()
    layers = []
    for _ in range(4):
        layers.append(focused(page).split(" of ")[0])
        page.keyboard.press("ArrowDown")
    assert layers == ["Layer 12", "Layer 7", "Layer 2", "Layer 0"]


def test_a_window_of_positions_is_chosen_in_the_menu(open_view):
    page = open_view(document(tell()))
    page.get_by_text("View", exact=True).click()
    page.get_by_label("first position shown").fill("1")
    page.get_by_label("first position shown").press("Tab")
    page.get_by_label("last position shown").fill("3")
    page.get_by_label("last position shown").press("Tab")
    assert page.locator(GRID).get_attribute("aria-colcount") == "3"
    assert "position 3:" in focused(page), "the focus stays inside"
    assert {"from": 1, "to": 3}.items() <= state_of(page).items()
    page.get_by_role("button", name="all", exact=True).click()
    assert page.locator(GRID).get_attribute("aria-colcount") == "5"


def test_the_lens_is_switched_and_a_difference_shown(open_view):
    first, second = tell(), tell(lens="raw", answer_from=10)
    page = open_view(document(first, second))
    page.get_by_role("button", name="raw", exact=True).click()
    assert "first leads at layer 10 of 12" in page.locator(".lw-headline").text_content()
    page.get_by_role("button", name="logit", exact=True).click()
    page.get_by_role("combobox", name="Compare with").select_option("1")
    said = page.locator(".lw-headline").text_content()
    same = (first.logprobs.argmax(-1) == second.logprobs.argmax(-1)).sum()
    assert f"The same token leads in {same} of 65 cells." in said
    page.locator(GRID).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert "“Berlin” in the first, “the” in the second" in focused(page)
