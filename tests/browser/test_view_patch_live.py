"""Patching live, end to end: Chromium, a running server, a real model: cells dragged, edits turned, undone."""

import contextlib
import json
import re
import threading
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from layerwise.interventions.specs import Patch
from layerwise.interventions.written import parse
from layerwise.view.live.server import ViewServer
from layerwise.view.live.session import Session

from .view_modules import viewer_modules
from .view_pages import needs_chromium, state_of, wait_for_state

pytestmark = needs_chromium

NAME = "smollm2-135m"
PROMPT, SOURCE = "The capital of France is", "The capital of Germany is"
HOSTILE = "<img src=x onerror=\"document.title='ran'\"> is"
PATCH = f"patch 'layer 12@3' source='{SOURCE}'"


@pytest.fixture(scope="module")
def server(smollm):
    server = ViewServer(Session(models=[NAME], load=lambda name, progress: smollm), title="layerwise", live=True)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.stop()
    thread.join(30)


@pytest.fixture
def open_live(browser, server):
    with contextlib.ExitStack() as ends:
        failed = []

        def open_page(patch=None, scheme="light"):
            context = browser.new_context(
                viewport={"width": 1300, "height": 1100}, color_scheme=scheme, reduced_motion="reduce"
            )
            ends.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.on("pageerror", lambda error: failed.append(f"{error}: {error.stack}"))
            state = f"#{quote(json.dumps({'tab': 'patch', 'patch': patch}))}" if patch else ""
            page.goto(server.url + state)
            page.wait_for_selector(".lw-tabs")
            return page

        yield open_page
    assert failed == []


def asked(**more):
    texts = {"model": NAME, "lens": "logit", "prompt": PROMPT, "source": SOURCE, "answers": [" Berlin", " Paris"]}
    return texts | {"chat": False, "edits": [], "seed": 0, "from": None, "to": None, "colour": "top"} | more


def show(page, prompt=PROMPT, source=SOURCE, answers=" Berlin\n Paris"):
    page.get_by_role("button", name="Patch live").click()
    page.get_by_label("Prompt that is patched").fill(prompt)
    page.get_by_label("Second prompt").fill(source)
    page.get_by_label("Answers of one token").fill(answers)
    page.get_by_role("button", name="Show both").click()
    rows(page, 2)


def rows(page, count):
    """The table of runs, once it has so many and is that of what was asked for."""
    expect(page.locator(".lw-patch-table tbody tr")).to_have_count(count, timeout=30_000)
    expect(page.locator(".lw-patch-behind")).to_have_count(0, timeout=30_000)
    return page.locator(".lw-patch-table tbody").inner_text()


def says(page, run):
    return page.get_by_role("row", name=re.compile(f"^{run} ")).locator("td").first


def grid(page, name):
    return page.get_by_role("grid", name=re.compile(f"^{name}: "))


def point(page, name, layer, place, tokens=5):
    one = grid(page, name)
    one.evaluate("(one, top) => { one.scrollTop = top; }", max(0, (30 - layer) * 22 - 100))
    one.scroll_into_view_if_needed()
    box, wide = one.bounding_box(), one.locator(".lw-grid-sizer").evaluate("one => one.offsetWidth")
    top = one.evaluate("one => one.scrollTop")
    return box["x"] + 45 + (place + 0.5) * (wide - 44) / tokens, box["y"] + 1 + (30 - layer + 0.5) * 22 - top


def drag(page, one, other, cell=(12, 3), onto=(12, 3)):
    point(page, one, *cell)
    end = point(page, other, *onto)
    start = point(page, one, *cell)
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*end, steps=6)
    page.mouse.up()


def test_a_dragged_cell_brings_the_answer_and_its_placebo_does_not(open_live):
    page = open_live()
    show(page)
    expect(says(page, "prompt")).to_contain_text("Paris")
    drag(page, "Source", "Prompt")
    rows(page, 4)
    expect(says(page, "patched")).to_contain_text("Berlin")
    expect(says(page, "placebo")).to_contain_text("Paris")
    expect(page.locator(".lw-edits code")).to_have_text(PATCH)
    for name in ("Source", "Prompt", "Patched", "Placebo"):
        expect(grid(page, name)).to_be_visible()
    wait_for_state(page, tab="patch")
    assert state_of(page)["patch"]["edits"] == [PATCH]
    recipe = page.get_by_label("Recipe")
    assert f'edits=("{PATCH}",)' in recipe.input_value()
    assert "layerwise trace --model=smollm2-135m" in recipe.input_value()
    assert "placebo=0" in recipe.input_value()


def test_a_cell_goes_to_another_layer_and_position(open_live):
    page = open_live()
    show(page)
    drag(page, "Source", "Prompt", (20, 4), (24, 3))
    rows(page, 4)
    expect(page.locator(".lw-edits code")).to_have_text(f"patch 'layer 24@3' source='{SOURCE}' at=4 of='layer 20'")


def test_dragged_the_other_way_the_prompts_change_places(open_live):
    page = open_live()
    show(page)
    drag(page, "Prompt", "Source")
    rows(page, 4)
    expect(page.locator(".lw-edits code")).to_have_text(f"patch 'layer 12@3' source='{PROMPT}'")
    expect(page.get_by_label("Prompt that is patched")).to_have_value(SOURCE)
    expect(says(page, "patched")).to_contain_text("Paris")


def test_the_keyboard_alone_patches_and_takes_back(open_live):
    page = open_live(asked())
    rows(page, 2)
    grid(page, "Source").focus()
    for key in (*["ArrowDown"] * 3, "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    expect(grid(page, "Prompt")).to_be_focused()
    for key in (*["ArrowDown"] * 3, "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    rows(page, 4)
    expect(page.locator(".lw-edits code")).to_have_text(PATCH)
    page.keyboard.press("Control+z")
    rows(page, 2)
    expect(page.locator(".lw-edits code")).to_have_count(0)
    page.keyboard.press("Control+Shift+z")
    rows(page, 4)
    expect(page.locator(".lw-edits code")).to_have_text(PATCH)


def test_a_slider_turns_a_number_and_is_one_step_back(open_live):
    page = open_live(asked(to=[12, 3]))
    rows(page, 2)
    page.get_by_role("button", name="Scale the prompt’s chosen cell").click()
    before = rows(page, 4)
    slider = page.get_by_role("slider")
    expect(slider).to_have_attribute("min", "0")
    expect(slider).to_have_attribute("max", "3")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(slider).to_be_focused()
    expect(page.locator(".lw-edits code")).to_have_text("scale 'layer 12@3' factor=1.2")
    after = rows(page, 4)
    assert after != before
    wait_for_state(page)
    assert state_of(page)["patch"]["edits"] == ["scale 'layer 12@3' factor=1.2"]
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".lw-edits code")).to_have_text("scale 'layer 12@3' factor=1")
    assert rows(page, 4) == before


def test_an_address_shows_the_same_again(open_live):
    page = open_live(asked(edits=[PATCH], seed=3))
    first = rows(page, 4)
    expect(says(page, "patched")).to_contain_text("Berlin")
    page.reload()
    assert rows(page, 4) == first
    expect(page.get_by_label("Second prompt")).to_have_value(SOURCE)
    assert "placebo=3" in page.get_by_label("Recipe").input_value()


def test_an_edit_that_cannot_be_made_is_said_and_nothing_typed_is_lost(open_live):
    page = open_live(asked(edits=[PATCH]))
    rows(page, 4)
    typed = page.get_by_label("Another edit")
    typed.fill("zero 'layer 99@3'")
    page.get_by_role("button", name="Add edit").click()
    alert = page.locator(".lw-live-patch [role=alert]")
    expect(alert).not_to_be_empty()
    assert alert.inner_text().rstrip().endswith(".")
    expect(typed).to_have_value("zero 'layer 99@3'")
    expect(page.get_by_label("Prompt that is patched")).to_have_value(PROMPT)
    page.get_by_role("button", name="Undo").click()
    expect(alert).to_be_empty()
    rows(page, 4)
    typed.fill("zero blocks.10.hook_mlp_out@-1")
    typed.press("Enter")
    expect(page.locator(".lw-edits code")).to_have_count(2)
    expect(typed).to_have_value("")


def test_an_answer_of_several_tokens_is_said(open_live):
    page = open_live()
    page.get_by_role("button", name="Patch live").click()
    page.get_by_label("Prompt that is patched").fill(PROMPT)
    page.get_by_label("Second prompt").fill(SOURCE)
    page.get_by_label("Answers of one token").fill(" Ouagadougou")
    page.get_by_role("button", name="Show both").click()
    expect(page.locator(".lw-live-patch [role=alert]")).to_contain_text("is not one token here but 6")
    expect(page.get_by_label("Answers of one token")).to_have_value(" Ouagadougou")


def test_a_kept_trace_is_among_the_others(open_live):
    page = open_live(asked(edits=[PATCH]))
    rows(page, 4)
    page.get_by_role("button", name="Keep as a trace").click()
    expect(page.locator(".lw-live-history li").last).to_contain_text("patch")
    expect(page.locator(".lw-badge-summary")).to_contain_text("edited: patch")


def test_hostile_prompts_are_text(open_live):
    page = open_live(asked(prompt=HOSTILE, source=f"A {HOSTILE}", edits=[f"zero 'layer 3@2' {HOSTILE}"]))
    expect(page.locator(".lw-live-patch [role=alert]")).not_to_be_empty(timeout=30_000)
    expect(grid(page, "Source")).to_be_visible()
    page.get_by_role("button", name=re.compile("^Remove")).click()
    page.get_by_role("button", name="Patch the chosen cells").click()
    rows(page, 4)
    assert page.title() == "layerwise"
    assert page.locator("img").count() == 0
    assert "<img src=x" in page.locator(".lw-edits").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_schemes_draw_all_four(open_live, scheme):
    page = open_live(asked(edits=[PATCH, "scale 'layer 5@2' factor=0.5"], colour="top"), scheme=scheme)
    rows(page, 4)
    surface = page.locator(".lw-view").evaluate("one => getComputedStyle(one).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", surface)[:3])) < 384) == (scheme == "dark")
    for canvas in page.locator(".lw-sheet canvas").all():
        drawn = canvas.evaluate(
            """one => {
                const { data } = one.getContext('2d').getImageData(60, 4, one.width - 80, 1);
                const shades = Array.from({ length: data.length / 4 }, (_, i) => data.slice(4 * i, 4 * i + 3).join());
                return new Set(shades).size;
            }"""
        )
        assert drawn > 3, "cells of several colours"


@pytest.fixture(scope="module")
def modules(browser):
    with viewer_modules(browser) as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "value", "turned"),
    [
        ("scale 'layer 12@3' factor=1.5", 1.5, "scale 'layer 12@3' factor=2"),
        ("add 'layer 3' token=' Paris' strength=-0.5", -0.5, "add 'layer 3' token=' Paris' strength=2"),
        ("patch 'layer 3' source='a factor=1 b'", None, None),
        ("patch 'layer 3' source='it'\"'\"'s factor=1 b' at=3", None, None),
        ("noise 'layer 0' seed=2 deviation=3", 3, "noise 'layer 0' seed=2 deviation=2"),
    ],
)
def test_the_number_of_an_edit_is_found_outside_of_quotation_marks(modules, text, value, turned):
    found = modules.call("return m.editNumber(text)", "live/edits", text=text)
    assert (found and found["value"]) == value
    if turned:
        assert modules.call("return m.editTurned(text, 2)", "live/edits", text=text) == turned


@pytest.mark.parametrize("source", ["plain", 'it\'s "quoted"', "a\nb  c", "x' placebo=1 y", "", "$(ls) \\ #"])
def test_a_patch_is_read_as_it_was_meant(modules, source):
    text = modules.call(
        "return m.editPlacebo(m.editOfPatch(source, { layer: 2, position: 1 }, { layer: 5, position: 4 }), 7)",
        "live/edits",
        source=source,
    )
    spec = parse(text)
    assert isinstance(spec, Patch)
    assert (spec.source, spec.site, spec.positions, spec.at, spec.of, spec.placebo) == (
        *(source, "layer 5", "4", "1", "layer 2", 7),
    )


def test_an_edit_takes_the_place_of_one_that_changes_the_same(modules):
    before = ["zero mlp_out@3", "patch 'layer 5@1' source=x", "scale layer"]
    found = modules.call(
        "return m.editsWith(before, more)", "live/edits", before=before, more="scale 'layer 5@1' factor=2"
    )
    assert found == ["zero mlp_out@3", "scale layer", "scale 'layer 5@1' factor=2"]


def test_attention_that_is_cut_has_no_placebo(modules):
    for text in ("cut pattern@-1 keys=3", "zero blocks.2.attn.hook_pattern@1", "scale mlp_out placebo=4"):
        assert modules.call("return m.editPlacebo(text, 1)", "live/edits", text=text) == text


def test_an_answer_that_is_no_longer_wanted_is_let_go_of_and_one_that_is_awaited_can_be_stopped(open_live):
    page = open_live(asked(edits=["scale 'layer 12@3' factor=1"]))
    first = rows(page, 4)
    held = []

    def hold(route):
        if any(f"factor={factor}" in route.request.post_data for factor in ("1.05", "0.95")):
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/traces", hold)
    stop, slider = page.locator(".lw-live-patch").get_by_role("button", name="Stop"), page.get_by_role("slider")
    slider.press("ArrowRight")
    expect(page.locator(".lw-patch-behind")).to_have_count(1)
    expect(stop).to_be_enabled()
    slider.press("ArrowRight")
    assert rows(page, 4) != first, "1.1, though 1.05 was never answered"
    assert len(held) == 1
    for _ in range(3):
        slider.press("ArrowLeft")
    expect(page.locator(".lw-edits code")).to_have_text("scale 'layer 12@3' factor=0.95")
    expect(stop).to_be_enabled()
    stop.click()
    expect(stop).to_be_disabled()
    expect(page.locator(".lw-live-patch [role=alert]")).to_be_empty()
    expect(page.locator(".lw-patch-behind")).to_have_count(1)
    slider.press("ArrowRight")
    assert rows(page, 4) == first
