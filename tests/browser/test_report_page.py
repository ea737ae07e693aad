"""A report's page in a real browser: charts are drawn, nothing is fetched, and no text becomes a script."""

import html
import re
import subprocess
from html.parser import HTMLParser

import pytest

from layerwise.execution.recording import record
from layerwise.report.markdown import write_report
from layerwise.report.web import web_page
from layerwise.studies.study import plan_study

from .view_pages import CHROMIUM, needs_chromium

HOSTILE = "</script><SCRIPT>document.title='ran'</SCRIPT><!--<script> <img src=x onerror=\"document.title='ran'\">"
PLACES = ["Germany", "France", "Italy", "the city", "the river", "New York", "the castle", "Rome"]


def opened(page, folder, *more):
    """Return what Chromium made of a page, as HTML, and what it logged."""
    assert CHROMIUM
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    log = ["--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000", f"--user-data-dir={folder / 'profile'}"]
    asked = [CHROMIUM, *quiet, *log, *more, "--dump-dom", page.as_uri()]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


class Elements(HTMLParser):
    """The names of a page's elements and of all their attributes."""

    def __init__(self):
        super().__init__()
        self.names, self.attributes = [], []

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]


@pytest.fixture(scope="module")
def page(load_family, tmp_path_factory):
    """The page of a run whose study, questions and set are hostile."""
    folder = tmp_path_factory.mktemp("page")
    model = load_family("gemma2")
    rows = [
        f'{place},"{place} and {HOSTILE[:20]}",and,castle,"{HOSTILE.replace(chr(34), chr(34) * 2)}"' for place in PLACES
    ]
    (folder / "a set.csv").write_text("item,prompt,answer,alternatives,direction\n" + "\n".join(rows) + "\n")
    study = plan_study(
        {
            "name": "page",
            "title": HOSTILE,
            "description": "A picture ![far](http://127.0.0.1:9/far.png).",
            "models": [model.info.name],
            "temperatures": [0.5, 1.0, 2.0],
            "sets": [{"name": "a set.csv"}],
            "questions": [{"id": "own", "prompt": "The capital of Germany is", "answers": [" Berlin"]}],
        },
        "test",
        folder,
    )
    run = record(study, folder / "run", load=lambda name: model)
    return write_report(run, folder / "report").with_suffix(".html")


@pytest.fixture(scope="module")
def dom(page, tmp_path_factory):
    return opened(page, tmp_path_factory.mktemp("chromium"))


@needs_chromium
def test_every_figure_holds_a_drawn_chart(page, dom):
    body, _ = dom
    figures = re.findall(r"<figure>.*?</figure>", body, re.DOTALL)
    assert len(figures) == len(list((page.parent / "figures").glob("*.png"))) >= 2
    for figure in figures:
        drawn = re.search(
            r'<canvas[^>]*width="(\d+)"[^>]*height="(\d+)"|<svg[^>]*width="(\d+)"[^>]*height="(\d+)"', figure
        )
        assert drawn, figure[:200]
        assert all(int(size) > 50 for size in drawn.groups() if size)


@needs_chromium
def test_no_script_of_hostile_text_runs(dom):
    body, _ = dom
    [title] = re.findall(r"<title>(.*?)</title>", body, re.DOTALL)
    assert html.unescape(title) == HOSTILE
    found = Elements()
    found.feed(body)
    assert found.names.count("script") == 1
    assert "img" in found.names, "those of the study's own questions"
    assert not [name for name in found.attributes if name.startswith("on")]


@needs_chromium
def test_nothing_is_fetched(dom):
    """The picture of the study's description is refused by the page's policy, and is all that is asked for."""
    _, console = dom
    refused = [line for line in console if "Content Security Policy" in line]
    assert len(refused) == len(console) == 1, console
    assert "127.0.0.1:9/far.png" in refused[0]


@needs_chromium
def test_the_pages_of_questions_are_reached_by_their_links(dom):
    body, _ = dom
    anchors = re.findall(r'href="#([^"]+)"', body)
    assert len(set(anchors)) == 2
    assert all(f'id="{anchor}"' in body for anchor in anchors)


@needs_chromium
def test_were_there_a_script_in_the_text_the_policy_would_stop_it(tmp_path):
    """As it would be if something forgot to make text harmless. Without the policy the same script runs."""
    bad = "<script>document.title='ran'</script>\n\n<img src=x onerror=\"document.title='ran'\" />\n"
    whole = web_page(bad, {}, "kept", {}, tmp_path)
    guarded, open_ = tmp_path / "guarded.html", tmp_path / "open.html"
    guarded.write_text(whole)
    open_.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", whole))
    assert "<title>kept</title>" in opened(guarded, tmp_path)[0]
    assert "<title>ran</title>" in opened(open_, tmp_path)[0]


@needs_chromium
def test_the_page_is_no_wider_than_a_small_screen_but_for_its_tables(page, tmp_path):
    """A script of the test's own measures it, so the policy is taken out."""
    measured = tmp_path / "measured.html"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    measure = "document.body.dataset.wide = document.documentElement.scrollWidth"
    script = f"<script>addEventListener('load', () => setTimeout(() => {measure}, 3000))</script>"
    measured.write_text(text + script)
    body, _ = opened(measured, tmp_path, "--window-size=800,1000")
    [wide] = re.findall(r'data-wide="(\d+)"', body)
    assert int(wide) <= 800
