"""What is taken along from a view: pictures of the whole window, tables, recipes."""

import base64
import csv
import io
import struct
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from playwright.sync_api import expect

from .view_modules import viewer_modules
from .view_pages import PROMPT, WORDS, changed, document, needs_chromium, tell

pytestmark = needs_chromium

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = (
    '=HYPERLINK("http://127.0.0.1:9")',
    "</text><script>document.title='ran'</script>",
    "\u202eevil\u0000\u0007",
    "]]>&amp;<!--",
    "@SUM(A1)\r\n",
    "\t-1+1",
    "javascript:alert(1)",
    "\U0001f600" * 3,
    "x" * 10_000,
)


@pytest.fixture(scope="module")
def modules(browser):
    with viewer_modules(browser) as made:
        yield made


def saved(page, name):
    """Return the name and the bytes of what a button of the menu saves."""
    if not page.get_by_role("button", name=name).is_visible():
        page.locator("summary", has_text="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def rows_of(page):
    name, text = saved(page, "CSV")
    assert name.endswith(".csv")
    return list(csv.DictReader(io.StringIO(text.decode("utf-8"), newline="")))


def colours_at(modules, data, points):
    """Return a PNG's width and height, and its colours at some points."""
    return modules.call(
        """
        const picture = await createImageBitmap(await (await fetch(`data:image/png;base64,${data}`)).blob());
        const surface = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
        surface.drawImage(picture, 0, 0);
        const colour = ([x, y]) => `rgb(${[...surface.getImageData(x, y, 1, 1).data].slice(0, 3).join(",")})`;
        return [picture.width, picture.height, points.map(colour)];
        """,
        data=base64.b64encode(data).decode(),
        points=points,
    )


def test_the_table_holds_the_numbers_of_the_chosen_window(open_view):
    story = tell()
    page = open_view(document(story), state={"from": 1, "to": 3, "stride": 4, "colour": "token", "token": 3})
    rows = rows_of(page)
    assert [(int(row["layer"]), int(row["position"])) for row in rows] == [
        (layer, position) for layer in (0, 4, 8, 12) for position in (1, 2, 3)
    ]
    for row in rows:
        here = story.logprobs[int(row["layer"]), int(row["position"])]
        assert row["token"] == WORDS[PROMPT[int(row["position"])]]
        assert int(row["top_token_id"]) == here.argmax()
        assert row["top_token"] == WORDS[here.argmax()]
        assert float(row["top_prob"]) == pytest.approx(np.exp(here.max()), rel=1e-5)
        assert float(row["answer_prob"]) == pytest.approx(np.exp(here[0]), rel=1e-5)
        assert float(row["entropy_bits"]) == pytest.approx(-(np.exp(here) * here).sum() / np.log(2), rel=1e-5)
        low, high = float(row["token_prob_low"]), float(row["token_prob_high"])
        assert low - 1e-7 <= np.exp(here[3]) <= high + 1e-7
        assert (row["token_prob"] == "") == (low < high)
        assert row["chosen_token"] == " Germany"


def test_the_table_of_a_difference_has_both_tokens(open_view):
    first, second = tell(seed=1), tell(seed=2)
    rows = rows_of(open_view(document(first, second), state={"against": 1}))
    assert len(rows) == 13 * len(PROMPT)
    for row in rows:
        at = int(row["layer"]), int(row["position"])
        assert row["second_top_token"].removeprefix("'") == WORDS[second.logprobs[at].argmax()]
        change = np.exp(second.logprobs[at].max()) - np.exp(first.logprobs[at].max())
        assert float(row["change_in_top_prob"]) == pytest.approx(change, abs=1e-6)


def hostile_page(open_view, **more):
    """A page of tokens and names that would be formulas, markup or worse."""
    words = HOSTILE + WORDS[len(HOSTILE) :]
    story = tell(words=words, tokens=range(len(HOSTILE)), model='../=cmd|"x', lens="<b>logit", with_answer=False)
    return open_view(document(story, title=HOSTILE[1]), **more)


def test_no_field_of_the_table_is_a_formula(open_view):
    page = hostile_page(open_view)
    name, text = saved(page, "CSV")
    assert name == "layerwise-cmd-x-b-logit.csv"
    rows = list(csv.reader(io.StringIO(text.decode("utf-8"), newline="")))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert len(rows) == 1 + 13 * len(HOSTILE)
    tokens = {row[rows[0].index("token")] for row in rows[1:]}
    assert tokens == {f"'{word}" if word[0] in "=@\t" else word for word in HOSTILE}
    for row in rows[1:]:
        for value in row:
            assert value[:1] not in set("=+-@\t\r\n") or value.replace("e-", "").lstrip("-").replace(".", "").isdigit()


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("=1+1", "'=1+1"),
        ("+a", "'+a"),
        ("-b", "'-b"),
        ("@x", "'@x"),
        ("\tq", '"\'\tq"'),
        ("\rz", '"\'\rz"'),
        (" =x", "' =x"),
        ("\u200e=x", "'\u200e=x"),
        ("＝x", "'＝x"),
        ("fine", "fine"),
        (' a "quoted", one', '" a ""quoted"", one"'),
        ("two\nlines", '"two\nlines"'),
        ("", ""),
        (-3.5, "-3.5"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1.8840894644189774e-17, "1.8840894644189774e-17"),
        (12, "12"),
        (None, ""),
    ],
)
def test_a_field_of_the_table(modules, value, field):
    assert modules.call("return m.csvField(value);", "exports/csv", value=value) == field


def test_the_drawing_holds_the_whole_window(open_view):
    """Although only a corner of the grid is in sight."""
    story = tell(30, tokens=PROMPT * 8, answer_from=20)
    page = open_view(document(story), size=(600, 400))
    name, text = saved(page, "SVG")
    assert name == "layerwise-toy-logit.svg"
    drawing = ET.fromstring(text)
    told = [element.text for element in drawing.iter(f"{SVG}text")]
    cells = 31 * len(PROMPT) * 8
    rects = [element for element in drawing.iter(f"{SVG}rect") if element.get("height") == "21"]
    assert len([rect for rect in rects if rect.get("fill") != "none"]) == cells
    assert {str(layer) for layer in range(31)} <= set(told)
    assert "logit lens" in " ".join(filter(None, told))
    width = float(drawing.get("width", 0))
    for element in drawing.iter(f"{SVG}rect"):
        assert 0 <= float(element.get("x", 0)) <= width


def test_no_text_of_the_drawing_is_markup(open_view):
    page = hostile_page(open_view, state={"layer": 3})
    _, text = saved(page, "SVG")
    drawing = ET.fromstring(text)
    names = {element.tag.removeprefix(SVG) for element in drawing.iter()}
    assert names == {"svg", "title", "defs", "clipPath", "path", "g", "rect", "text"}
    assert not [key for element in drawing.iter() for key in element.attrib if key.startswith("on") or "href" in key]
    told = [element.text or "" for element in drawing.iter(f"{SVG}text")]
    assert any(word.startswith("</text>") for word in told)
    assert max(map(len, told)) < 500


def test_the_picture_is_the_whole_window_twice_as_fine(open_view, modules):
    page = open_view(document(tell(30, tokens=PROMPT * 4, answer_from=20)), size=(600, 400))
    _, text = saved(page, "SVG")
    drawing = ET.fromstring(text)
    name, data = saved(page, "PNG")
    assert name == "layerwise-toy-logit.png"
    cells = [rect for rect in drawing.iter(f"{SVG}rect") if rect.get("height") == "21" and rect.get("fill") != "none"]
    points = [[int(2 * float(rect.get(axis, 0)) + 4) for axis in ("x", "y")] for rect in cells]
    width, height, colours = colours_at(modules, data, points)
    assert (width, height) == (2 * int(drawing.get("width", 0)), 2 * int(drawing.get("height", 0)))
    assert colours == [rect.get("fill", "").replace(" ", "") for rect in cells]


def test_a_picture_that_no_canvas_holds_is_drawn_coarser_and_says_so(open_view):
    story = tell(4, tokens=PROMPT * 60, answer_from=2)
    page = open_view(document(story))
    _, data = saved(page, "PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert 15_000 < width <= 16_000
    assert height > 20
    assert "a smaller window is sharper" in page.locator(".lw-exports-said").inner_text()


def recipes(whole, **given):
    return changed(
        whole, lambda copied: copied["traces"][0].update(recipes={"python": "p = '…'\n", "cli": None} | given)
    )


def test_recipes_are_copied(open_view):
    page = open_view(
        recipes(document(tell()), cli="layerwise trace -- x"), permissions=["clipboard-read", "clipboard-write"]
    )
    page.locator("summary", has_text="Export").click()
    for name, text in (("Copy as Python", "p = '…'\n"), ("Copy as command", "layerwise trace -- x")):
        page.get_by_role("button", name=name).click()
        expect(page.locator(".lw-exports-said")).to_have_text("Copied.")
        assert page.evaluate("navigator.clipboard.readText()") == text
        page.evaluate("document.querySelector('.lw-exports-said').textContent = ''")


def test_without_a_clipboard_the_recipe_is_shown_selected(open_view):
    page = open_view(recipes(document(tell())))
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.locator("summary", has_text="Export").click()
    page.get_by_role("button", name="Copy as Python").click()
    page.wait_for_selector(".lw-exports-text:focus")
    assert page.evaluate("getSelection().toString()") == "p = '…'\n"
    assert "copy it from here" in page.locator(".lw-exports-said").inner_text()


def test_a_recipe_that_there_is_not_cannot_be_asked_for(open_view):
    page = open_view(recipes(document(tell())))
    page.locator("summary", has_text="Export").click()
    assert page.get_by_role("button", name="Copy as command").is_disabled()
    assert page.get_by_role("button", name="Copy as Python").is_enabled()


def test_a_difference_gives_both_recipes(open_view):
    page = open_view(document(tell(), tell(lens="raw")), state={"against": 1})
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.locator("summary", has_text="Export").click()
    page.get_by_role("button", name="Copy as Python").click()
    page.wait_for_selector(".lw-exports-text:focus")
    text = page.locator(".lw-exports-text").input_value()
    assert text.count("model.trace('…')") == 2
    assert [line for line in text.splitlines() if line.startswith("# toy")] == [
        "# toy · logit ·  The capital of Germany is",
        "# toy · raw ·  The capital of Germany is",
    ]
