"""Patch grids in the view: what a cell shows, where nothing can change, keyboard, tooltip, address, hostile tokens."""

from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import expect

from layerwise.causal.alignment import Alignment
from layerwise.causal.grid import PatchGrid, Patching
from layerwise.causal.outcomes import Outcome
from layerwise.types import ModelInfo, Token
from layerwise.view.document import view_document
from layerwise.view.patching_part import patching_part

from .view_pages import changed, document, needs_chromium, tell, wait_for_state, write_as_it_is

pytestmark = needs_chromium

MODEL = ModelInfo("toy", "memory", "toy", None, None, "Toy", 4, 8, 2, 2, 32, 64, 100, "float32", "cpu")
CLEAN = ("The", " capital", " of", " Great", " Britain", " is")
CORRUPTED = ("The", " capital", " of", " France", " is")
HOSTILE = '<img src=x onerror="window.ran = true">\u202e</script>'


def made(corrupted=CORRUPTED, direction="denoise"):
    """Grids whose recovery is (10 × block + column) percent, and the placebo half of it below zero."""
    columns = (0, 1, 2, 3, 4) if direction == "denoise" else (0, 1, 2, 4, 5)
    recovery = np.array([[(10 * block + column) / 100 for column in range(5)] for block in range(4)])
    heads = np.array([[0.5, -0.25]] * 4)
    values = {
        "logit_difference": recovery * 10 - 5,
        "answer_logprob": recovery - 7,
        "answer_rank": np.full((4, 5), 3.0),
    }
    outcome = Outcome(-5.0, -7.0, 9.0, " Paris")
    return Patching(
        model=MODEL,
        direction=direction,
        effect="logit_difference",
        clean=tuple(Token(i, text) for i, text in enumerate(CLEAN)),
        corrupted=tuple(Token(i if i < 3 else 20 + i, text) for i, text in enumerate(corrupted)),
        alignment=Alignment(((0, 0), (1, 1), (2, 2), (4, 3), (5, 4)), 3, 1),
        answer=Token(8, " London"),
        against=Token(9, " Paris"),
        unpatched=outcome,
        source=replace(outcome, logit_difference=5.0, top=" London"),
        grids=(
            PatchGrid("mlp_out", (0, 1, 2, 3), columns, False, values, recovery, placebo=-recovery / 2),
            PatchGrid("z", (0, 1, 2, 3), (0, 1), True, {}, heads),
        ),
        window=1,
        noise=None,
        versions={"layerwise": "0.1"},
    )


def page_of(open_view, *patchings, **more):
    return open_view(view_document([], patchings=[patching_part(each) for each in patchings]), **more)


@pytest.fixture
def page(open_view):
    return page_of(open_view, made())


def cell(page, row, column):
    return page.locator(f'.lw-heat [data-row="{row}"][data-column="{column}"]')


def test_a_cell_says_its_recovery_and_one_outside_of_the_cone_nothing(page):
    expect(page.locator(".lw-heat tbody tr")).to_have_count(4)
    assert page.locator(".lw-heat tbody tr").first.locator("th").text_content() == "3", "later blocks are above"
    expect(cell(page, 1, 3)).to_have_text("13")
    expect(cell(page, 1, 3)).to_have_attribute("aria-label", "Block 1, position 3 ␣France: recovery 13 %")
    outside = cell(page, 1, 1)
    expect(outside).to_have_text("")
    assert "nothing put here can change" in outside.get_attribute("aria-label")
    pictures = [each.evaluate("one => getComputedStyle(one).backgroundImage") for each in (outside, cell(page, 1, 3))]
    assert "gradient" in pictures[0], "hatched"
    assert pictures[1] == "none"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_part_at_zero(open_view, scheme):
    page = page_of(open_view, made(), scheme=scheme, state={"kind": "z"})
    shades = [
        [
            int(part)
            for part in cell(page, 0, column).evaluate("one => getComputedStyle(one).backgroundColor")[4:-1].split(",")
        ]
        for column in (0, 1)
    ]
    assert shades[0][2] > shades[0][0], "above zero blue"
    assert shades[1][0] > shades[1][2], "below zero orange"


def test_arrow_keys_choose_and_every_number_stands_beside(page):
    cell(page, 3, 4).click()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(cell(page, 2, 4)).to_be_focused()
    wait_for_state(page, row=2, column=4)
    detail = page.get_by_role("region", name="The chosen cell")
    expect(detail).to_contain_text("block 2")
    expect(detail.get_by_role("row", name="recovery 24 %")).to_be_visible()
    expect(detail.get_by_role("row", name="recovery under the placebo −12 %")).to_be_visible()
    expect(detail.get_by_role("row", name="logit difference −2.60")).to_be_visible()
    expect(detail.get_by_role("row", name="rank of the answer 3")).to_be_visible()
    page.keyboard.press("Control+Home")
    expect(cell(page, 3, 0)).to_be_focused()
    expect(detail).to_contain_text("outside the causal cone")


def test_the_pointer_shows_all_numbers(page):
    cell(page, 2, 4).hover()
    tip = page.locator(".lw-patching .lw-tip")
    expect(tip).to_be_visible()
    expect(tip).to_contain_text("24 %")
    expect(tip).to_contain_text("−12 %")
    page.mouse.move(2, 2)
    expect(tip).to_be_hidden()


def test_kind_and_colour_are_in_the_address(page, open_view):
    page.get_by_role("button", name="z", exact=True).click()
    expect(cell(page, 0, 1)).to_have_text("−25")
    wait_for_state(page, kind="z")
    page.get_by_role("button", name="mlp_out", exact=True).click()
    page.get_by_role("combobox", name="Colour").select_option(label="log-probability of the answer")
    expect(cell(page, 3, 4)).to_have_text("−6.66")
    wait_for_state(page, effect="answer_logprob")
    page.reload()
    expect(cell(page, 3, 4)).to_have_text("−6.66")


def test_tokens_stand_below_those_that_they_stand_for(page):
    rows = page.locator(".lw-aligned tr")
    texts = [rows.nth(row).locator("td").all_text_contents() for row in range(2)]
    assert texts[0] == ["The", "␣capital", "␣of", "␣Great", "␣Britain", "␣is"]
    assert texts[1] == ["The", "␣capital", "␣of", "", "␣France", "␣is"]
    assert page.locator(".lw-aligned-differs").all_text_contents() == ["␣Great", "␣Britain", "␣France"]


def test_hostile_tokens_are_text_everywhere(open_view):
    hostile = (*CORRUPTED[:3], HOSTILE, CORRUPTED[4])
    page = page_of(open_view, replace(made(hostile), notes=(HOSTILE,), answer=Token(8, HOSTILE)))
    cell(page, 2, 3).hover()
    cell(page, 2, 3).click()
    assert page.locator("#lw-view img").count() == 0
    assert not page.evaluate("window.ran")
    text = page.locator("#lw-view").inner_text()
    assert "<img" in text
    assert "\u202e" not in text


def test_several_grids_and_a_trace_are_chosen_between(open_view):
    whole = document(tell())
    whole["patchings"] = [patching_part(made()), patching_part(made(direction="noise"))]
    page = open_view(whole)
    expect(page.locator(".lw-heat")).to_be_hidden()
    page.get_by_role("button", name="Patch grids").click()
    expect(page.locator(".lw-headline", has_text="corrupted run, place")).to_be_visible()
    page.get_by_role("combobox", name="Prompts").select_option(index=1)
    expect(page.locator(".lw-headline", has_text="clean run, place")).to_be_visible()
    wait_for_state(page, patching=1, tab="patching")


def test_a_damaged_grid_is_said(open_view, tmp_path):
    def cut(whole):
        whole["patchings"][0]["grids"][0]["blocks"].pop()

    bad = changed(view_document([], patchings=[patching_part(made())]), cut)
    page = open_view(write_as_it_is(tmp_path, bad))
    expect(page.get_by_role("alert")).to_contain_text("has lengths 4 × 5, but 3 × 5 belong")
