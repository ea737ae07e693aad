"""A model whose vocabulary is out to be run: in every part of the view its tokens are text, and nothing else.

Most tests take the page's content-security policy out. It would stop a script that got into the page; here none may
get there in the first place.
"""

import csv
import io
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest
import torch

import layerwise as lw
from layerwise.execution.recording import record
from layerwise.report.markdown import write_report
from layerwise.studies.study import plan_study
from layerwise.view.document import view_document
from layerwise.view.page import page_html
from layerwise.view.study.study_part import study_of

from .view_pages import needs_chromium

pytestmark = needs_chromium

RUN = "window.ran = true; document.title = 'ran'"
SCRIPT = f"<script>{RUN}</script>"
IMAGE = f'<img src=x onerror="{RUN}">'
VOCABULARY = [
    f" {SCRIPT}",
    f"</script>{SCRIPT}<!--<script>",
    f"</style></title></textarea></svg>{IMAGE}",
    f'" onmouseover="{RUN}" x="',
    f"javascript:{RUN}",
    "\u202egnihton\u2066\u200f",
    "nul\x00behind",
    "line\nbreak\r\n\ttab\u2028",
    "=HYPERLINK(0)",
    "long" * 2500,
]
NAME = f"{IMAGE}\u202e/{SCRIPT}\n"
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')

FOREIGN = """() => {
  const elements = ["IMG", "IFRAME", "OBJECT", "EMBED", "BASE", "FORM", "FOREIGNOBJECT"];
  const named = /^(src|href|xlink:href|action|formaction|data)$/i;
  const isForeign = ({ name, value }) => /^on/i.test(name) || (named.test(name) && !/^(blob:|data:,|#)/.test(value));
  return [...document.querySelectorAll("*")].flatMap((one) => [
    ...(elements.includes(one.tagName.toUpperCase()) ? [one.outerHTML] : []),
    ...(one.tagName === "SCRIPT" && !["module", "application/json"].includes(one.type) ? [one.outerHTML] : []),
    ...[...one.attributes].filter(isForeign).map(({ name, value }) => `${one.tagName} ${name}=${value.slice(0, 200)}`),
  ]);
}"""

TEXTS = """() => {
  const found = [];
  const walk = document.createTreeWalker(document.querySelector("#lw-view"), NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) found.push(walk.currentNode.data);
  for (const one of document.querySelectorAll("#lw-view *"))
    for (const name of ["title", "aria-label", "aria-valuetext", "value", "placeholder"])
      if (one.hasAttribute(name)) found.push(one.getAttribute(name));
  return found;
}"""


@pytest.fixture(scope="module")
def model(fresh_parts):
    """A toy model that says little else than its hostile tokens."""
    hf_model, tokenizer = fresh_parts("qwen3")
    tokenizer.add_tokens(VOCABULARY)
    ids = tokenizer.convert_tokens_to_ids(VOCABULARY)
    assert len(set(ids)) == len(VOCABULARY)
    with torch.no_grad():
        hf_model.lm_head.weight[ids] *= 3
    return lw.load(hf_model, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def traces(model):
    prompt = "The capital of " + "".join(VOCABULARY)
    request = lw.Request(
        prompt, answers=tuple(VOCABULARY[:2]), track=tuple(VOCABULARY[2:5]), positions="all", top_k=8, generate=2
    )
    [found] = model.trace_all([request], lenses=("logit", "raw"))
    said = {trace.texts[int(i)] for trace in found for i in trace.top_ids[..., 0].ravel()}
    assert len(said & set(VOCABULARY)) >= 6, "the hostile tokens should lead"
    return [replace(trace, model=replace(trace.model, name=NAME)) for trace in found]


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """A stored run of the same model, whose study, sets and questions are no better."""
    folder = tmp_path_factory.mktemp("run")
    name = model.info.name
    with (folder / "a set.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["item", "prompt", "answer", "alternatives", "direction"])
        for place in ("Germany", "France", "Italy", "Rome"):
            table.writerow([f"{place}{IMAGE}", f"{place} {SCRIPT} and", " and", IMAGE, SCRIPT])
    own = {"id": "own", "prompt": "".join(VOCABULARY[:7]), "answers": [VOCABULARY[0]]}
    raw = {
        "name": "hostile",
        "title": f"{SCRIPT}{IMAGE}",
        "description": f"{SCRIPT}{IMAGE}",
        "models": [name],
        "sets": [{"name": "a set.csv"}],
        "questions": [own],
    }
    return record(plan_study(raw, "test", folder), folder / "run", load=lambda _: model)


def unguarded(document, folder: Path) -> Path:
    """The document's page without its policy."""
    text = page_html(document)
    assert POLICY.search(text)
    file = folder / "unguarded.html"
    file.write_text(POLICY.sub("", text), "utf-8")
    return file


def nothing_ran(page):
    assert not page.evaluate("window.ran")
    assert page.title() != "ran"
    assert page.evaluate(FOREIGN) == []


def shown_harmlessly(page, longest=1200):
    """All text and labels of the view: visible characters only, and no 10 kB token."""
    texts = page.evaluate(TEXTS)
    assert not [
        text for text in texts if re.search(r"[\x00-\x08\x0b-\x1f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", text)
    ]
    assert max(map(len, texts)) <= longest
    return texts


@pytest.fixture
def page(traces, open_view, tmp_path):
    return open_view(unguarded(view_document(traces), tmp_path), accept_downloads=True)


def test_tokens_are_text_in_tooltip_detail_and_chart(page):
    grid = page.locator(".lw-grid")
    box = grid.bounding_box()
    assert box
    for share in (0.2, 0.5, 0.8):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 0.4 * box["height"])
        shown_harmlessly(page)
    grid.focus()
    seen = set()
    for key in ("Home", *["ArrowRight"] * 5, *["ArrowDown"] * 4, *["ArrowLeft"] * 3):
        page.keyboard.press(key)
        page.keyboard.press("Enter")
        seen |= set(shown_harmlessly(page))
    nothing_ran(page)
    whole = "\n".join(seen)
    for part in ("<script>", "</script>", "<img", "javascript:", r"\u{202e}", r"\u{0}", "↵"):
        assert part in whole, part


def test_tokens_are_text_in_choosers_and_badge(page):
    page.get_by_role("combobox", name="Colour").select_option("token")
    field = page.get_by_role("combobox", name="Token", exact=True)
    for typed in ("<script>", "javascript:", "long"):
        field.fill(typed)
        field.press("Enter")
        shown_harmlessly(page)
    page.get_by_role("combobox", name="Compare with").select_option("1")
    shown_harmlessly(page)
    for menu in page.locator("details").all():
        menu.evaluate("(one) => { one.open = true; }")
        shown_harmlessly(page)
    nothing_ran(page)


def test_no_token_breaks_the_layout(page):
    for width in (1400, 500):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(
    "fragment",
    [
        {"tab": SCRIPT, "colour": IMAGE, "filter": SCRIPT, "token": SCRIPT},
        {"pins": [10**9, -1, SCRIPT], "trace": 99, "layer": 10**6, "place": -4, "__proto__": {"polluted": 1}},
        SCRIPT,
        "%E0%A4%A",
        "[]",
        '{"filter": "' + IMAGE.replace('"', '\\"') + '", "colour": "token", "token": 3}',
    ],
)
def test_the_address_says_nothing_that_is_run(traces, open_view, tmp_path, fragment):
    asked = fragment if isinstance(fragment, dict) else quote(fragment, safe="%")
    page = open_view(unguarded(view_document(traces), tmp_path), state=asked)
    page.wait_for_selector(".lw-grid")
    nothing_ran(page)
    assert page.evaluate("({}).polluted") is None


def saved(page, name) -> Path:
    page.locator("summary", has_text="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    assert re.fullmatch(r"layerwise-[A-Za-z0-9-]+\.\w+", download.value.suggested_filename)
    return Path(download.value.path())


def test_a_spreadsheet_finds_no_formula_in_the_table(page):
    rows = list(csv.reader(io.StringIO(saved(page, "CSV").read_text("utf-8-sig"))))
    assert len(rows) > 20
    cells = {cell for row in rows for cell in row}
    numbers = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?|-?Infinity|")
    assert not [cell for cell in cells if re.match(r"[=+\-@\t\r]", cell) and not numbers.fullmatch(cell)]
    assert any("HYPERLINK" in cell for cell in cells)


def test_a_drawing_holds_tokens_as_text(page, browser):
    drawing = saved(page, "SVG")
    text = drawing.read_text("utf-8")
    elements = list(ET.fromstring(text).iter())
    kinds = {element.tag.rpartition("}")[2] for element in elements}
    assert kinds <= {"svg", "g", "rect", "text", "tspan", "path", "line", "circle", "polyline", "title", "desc", "defs",
                     "pattern", "clipPath", "linearGradient", "stop", "style", "polygon"}  # fmt: skip
    assert not [name for element in elements for name in element.attrib if re.search(r"^on|href$", name)]
    assert not re.search(r"[\x00\u202e]", text)
    picture = drawing.with_suffix(".svg")
    drawing.rename(picture)
    opened = browser.new_page()
    opened.goto(picture.as_uri())
    assert opened.evaluate("document.documentElement.tagName") == "svg"
    assert not opened.evaluate("window.ran")
    opened.close()


def test_what_is_copied_is_one_line_that_a_terminal_types_as_it_stands(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("summary", has_text="Export").click()
    page.get_by_role("button", name="Python").click()
    page.get_by_text("Copied.").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert all(line.isprintable() for line in copied.splitlines())
    compile(copied, "recipe", "exec")


def test_where_scripts_are_off_the_table_shows_text(traces, browser, tmp_path):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(unguarded(view_document(traces), tmp_path).as_uri())
    assert page.locator("noscript table tr").count() == 2 * (traces[0].n_layers + 2)
    assert page.locator("img, noscript script").count() == 0
    shown = page.locator("noscript").inner_text()
    assert "<script>" in shown
    assert not re.search(r"[\x00\u202e]", shown)
    context.close()


def test_a_study_of_such_a_model_is_text(run, open_view, tmp_path):
    page = open_view(unguarded(view_document([], study=study_of(run)), tmp_path))
    page.wait_for_selector(".lw-panel-study")
    for menu in page.locator("details").all():
        menu.evaluate("(one) => { one.open = true; }")
    nothing_ran(page)
    shown_harmlessly(page, longest=3000)


def test_the_report_of_such_a_run_is_text(run, browser, tmp_path):
    """Its page without the policy, and its Markdown as a renderer that lets HTML through makes it."""
    from markdown_it import MarkdownIt

    report = write_report(run, tmp_path / "report")
    made = {"markdown.html": MarkdownIt("commonmark", {"html": True}).enable("table").render(report.read_text("utf-8"))}
    made["page.html"] = POLICY.sub("", report.with_suffix(".html").read_text("utf-8"))
    for name, text in made.items():
        file = tmp_path / "report" / name
        file.write_text(text, "utf-8")
        page = browser.new_page()
        page.goto(file.as_uri())
        assert not page.evaluate("window.ran"), name
        assert page.title() != "ran", name
        assert page.locator("body", has_text="<script>").count() == 1, name
        page.close()
    assert not re.search(r"[\x00\u202e]", report.read_text("utf-8"))
