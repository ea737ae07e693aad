"""Pages of all kinds of documents in a real browser: bad ones, wide ones, large ones; light, dark, accessible."""

import numpy as np
import pytest

from .view_pages import (
    GRID,
    PROMPT,
    changed,
    colour_at,
    document,
    focused,
    frames,
    needs_chromium,
    tell,
    write_as_it_is,
)

pytestmark = needs_chromium


@pytest.mark.parametrize(
    ("theme", "scheme", "dark"), [("auto", "dark", True), ("light", "dark", False), ("dark", "light", True)]
)
def test_theme_follows_the_system_unless_chosen(open_view, theme, scheme, dark):
    page = open_view(document(tell()), state={"theme": theme}, scheme=scheme)
    frames(page)
    surface = page.evaluate("getComputedStyle(document.querySelector('.lw-view')).backgroundColor")
    assert (sum(map(int, surface[4:-1].split(","))) < 300) == dark
    box = page.locator(GRID).bounding_box()
    assert (sum(colour_at(page, box["x"] + 3, box["y"] + 3)) < 300) == dark, "the canvas too"


def test_a_large_trace_is_drawn_fast_enough_to_scroll(open_view):
    """On the median frame, so that one that the machine lost does not count: painting takes a small part of 16 ms."""
    page = open_view(document(tell(80, PROMPT * 80)))
    taken = page.evaluate(
        """async () => {
            const grid = document.querySelector('[role=grid]');
            const taken = [];
            const draw = CanvasRenderingContext2D.prototype.setTransform;
            let begun = 0;
            CanvasRenderingContext2D.prototype.setTransform = function (...given) {
                begun = performance.now();
                queueMicrotask(() => taken.push(performance.now() - begun));
                return draw.apply(this, given);
            };
            for (let step = 0; step < 60; step += 1) {
                grid.scrollTo(grid.scrollWidth * step / 60, grid.scrollHeight * step / 60);
                await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            }
            return taken;
        }"""
    )
    assert len(taken) >= 50
    assert np.median(taken) < 16


@pytest.mark.parametrize("width", [400, 800, 1400])
def test_the_page_is_no_wider_than_its_window(open_view, width):
    page = open_view(document(tell(tokens=PROMPT * 8)), size=(width, 800))
    frames(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    grid = page.locator(GRID).bounding_box()
    assert grid["width"] <= width - 30
    assert grid["height"] > 200


def test_a_long_prompt_begins_at_its_end_and_scrolls(open_view):
    page = open_view(document(tell(tokens=PROMPT * 40)))
    frames(page)
    assert "position 199:" in focused(page)
    scrolled = "document.querySelector('[role=grid]').scrollLeft"
    assert page.evaluate(scrolled) > 5000
    page.locator(GRID).focus()
    page.keyboard.press("Home")
    assert page.evaluate(scrolled) == 0
    assert page.evaluate("document.querySelector('.lw-grid-canvas').width") < 3000, "only what is in sight is drawn"


BAD = {
    "newer": (lambda whole: whole.update(format="layerwise view 2"), "written by a newer layerwise (format 2"),
    "foreign": (lambda whole: whole.update(format="something"), "not a layerwise view"),
    "empty": (lambda whole: whole.update(traces=[]), "holds neither a trace, nor a study, nor patch grids"),
    "layers": (lambda whole: whole["traces"][0].update(n_layers=11), "top_ids has lengths 13 × 5 × 5, but 12 ×"),
    "positions": (lambda whole: whole["traces"][0].update(positions=[0, 1, 2, 3, 5]), "positions do not point"),
    "texts": (lambda whole: whole["traces"][0]["texts"]["texts"].pop(), "32 token ids have 31 texts"),
    "leaders": (lambda whole: whole["traces"][0]["leaders"].pop(), "leaders are given for 4 positions of 5"),
    "missing": (lambda whole: whole["traces"][0].pop("top_logprobs"), "top_logprobs is missing"),
    "measure": (
        lambda whole: whole["traces"][0]["measures"]["entropy_bits"].update(shape=[13, 4]),
        "entropy_bits has lengths 13 × 4",
    ),
    "short": (
        lambda whole: whole["traces"][0]["top_ids"].update(base64=whole["traces"][0]["top_ids"]["base64"][:800]),
        "top_ids should hold 13 × 5 × 5 numbers, but holds 150",
    ),
    "garbled": (lambda whole: whole["traces"][0]["top_ids"].update(base64="<script>"), "top_ids is not base64"),
    "type": (lambda whole: whole["traces"][0]["top_ids"].update(type="float16"), "unknown type float16"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_document_becomes_a_message(open_view, tmp_path, name):
    change, sentence = BAD[name]
    page = open_view(write_as_it_is(tmp_path, changed(document(tell()), change)))
    message = page.get_by_role("alert")
    assert sentence in message.text_content()
    assert message.is_visible()


def test_a_document_of_another_shape_is_a_message_and_not_a_blank(open_view, tmp_path):
    bad = changed(document(tell()), lambda whole: whole["traces"][0].update(texts={"ids": 3}, milestones=[]))
    page = open_view(write_as_it_is(tmp_path, bad))
    assert page.get_by_role("alert").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_axe_finds_nothing_serious(open_view, scheme, width):
    sync_playwright = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_view(document(tell(), tell(lens="raw", seed=3)), scheme=scheme, size=(width, 900))
    page.get_by_text("View", exact=True).click()
    found = sync_playwright.Axe().run(page).response["violations"]
    serious = [each for each in found if each["impact"] in {"serious", "critical"}]
    assert [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in serious] == []
