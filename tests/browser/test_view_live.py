"""The live viewer end to end: Chromium, a running server, and a real model whose layers come when a test lets them."""

import contextlib
import re
import threading
import time

import pytest
from playwright.sync_api import expect

from layerwise.errors import OfflineError
from layerwise.execution.recording import record
from layerwise.studies.study import plan_study
from layerwise.view.live.folder import RunFolder
from layerwise.view.live.server import ViewServer
from layerwise.view.live.session import Session

from .view_pages import needs_chromium

pytestmark = needs_chromium

NAME = "smollm2-135m"
PROMPT = "The capital of Germany is"
HOSTILE = "\u202e</script><img src=x onerror=\"document.title='ran'\">\0"


class Stepped:
    """A model that waits after each layer until a test lets it go on."""

    def __init__(self, model):
        self.model, self.info = model, model.info
        self.gate = threading.Semaphore(0)
        self.layers_done = 0
        self.ended = threading.Event()

    def trace_all(self, requests, *, on_layer, **asked):
        def told(read):
            self.layers_done += 1
            on_layer(read)
            assert self.gate.acquire(timeout=60)

        self.ended.clear()
        try:
            return self.model.trace_all(requests, on_layer=told, **asked)
        finally:
            self.ended.set()

    def go_on(self, layers=1000):
        for _ in range(layers):
            self.gate.release()


@pytest.fixture
def stepped(smollm):
    model = Stepped(smollm)
    yield model
    model.go_on(10_000)


@pytest.fixture
def server(stepped):
    def load(name, progress):
        if name != NAME:
            raise OfflineError(f"The hub could not be reached for {name}.")
        return stepped

    with serving(Session(models=[NAME, "absent/model", HOSTILE], load=load)) as server:
        yield server


@contextlib.contextmanager
def serving(session):
    server = ViewServer(session, title="layerwise", live=True)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def open_live(browser):
    """Opens a server's page in a window of its own; no script of it may fail, and its policy may refuse nothing."""
    with contextlib.ExitStack() as ends:
        failed = []

        def open_page(server):
            context = browser.new_context(reduced_motion="reduce")
            ends.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.on("pageerror", lambda error: failed.append(f"{error}: {error.stack}"))
            page.on("console", lambda said: failed.append(said.text) if "Security Policy" in said.text else None)
            page.goto(server.url)
            page.wait_for_selector(".lw-live")
            return page

        yield open_page
    assert failed == []


def run(page, prompt=PROMPT, **more):
    form = page.get_by_role("form", name="Trace a prompt")
    form.get_by_label("Prompt", exact=True).fill(prompt)
    for name, value in more.items():
        form.get_by_label(name.capitalize(), exact=True).select_option(value)
    form.get_by_role("button", name="Run", exact=True).click()


def arrived(page, layer):
    expect(page.locator(".lw-live-layers caption")).to_have_text(re.compile(f"^Layer {layer} of 30 "), timeout=30_000)


def whole(page, count=1):
    expect(page.locator(".lw-live-history li")).to_have_count(count, timeout=30_000)
    expect(page.locator(".lw-grid canvas")).to_be_visible()


def test_layers_are_on_the_screen_while_later_ones_are_not_yet_computed(server, stepped, open_live):
    page = open_live(server)
    run(page, positions="all")
    for layer in range(3):
        arrived(page, layer)
        assert stepped.layers_done == layer + 1
        rows = page.locator(".lw-live-layers tbody tr")
        expect(rows).to_have_count(layer + 1)
        expect(rows.first.locator("th")).to_have_text(str(layer))
        expect(rows.first.locator("td")).to_have_count(5)
        assert rows.first.locator("td").first.evaluate("cell => cell.style.background").startswith("rgb(")
        stepped.go_on(1)
    assert page.locator(".lw-grid canvas").count() == 0 or not page.locator(".lw-grid canvas").is_visible()
    stepped.go_on()
    whole(page)
    expect(page.locator(".lw-live-preview")).to_be_hidden()
    assert stepped.layers_done == 31


def test_the_keyboard_alone_runs_a_prompt_with_an_answer(server, stepped, open_live):
    stepped.go_on()
    page = open_live(server)
    page.get_by_label("Prompt", exact=True).focus()
    page.keyboard.type(PROMPT)
    page.keyboard.press("Tab")
    page.keyboard.type(" Berlin")
    page.keyboard.press("Control+Enter")
    whole(page)
    expect(page.locator(".lw-headline")).to_contain_text("Berlin")


def test_stop_stops_the_work_and_the_next_prompt_runs(server, stepped, open_live):
    page = open_live(server)
    run(page)
    stepped.go_on(2)
    arrived(page, 2)
    [job] = {server._worker._current}
    page.get_by_role("button", name="Stop", exact=True).click()
    assert job._stopped.wait(30)
    stepped.go_on()
    assert stepped.ended.wait(30)
    assert stepped.layers_done == 3, "no layer was begun any more"
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_enabled()
    expect(page.locator(".lw-live-alert")).to_have_text("")
    run(page)
    whole(page)


def test_the_work_of_a_page_that_was_closed_stops(server, stepped, open_live):
    page = open_live(server)
    run(page)
    stepped.go_on(2)
    arrived(page, 2)
    [job] = {server._worker._current}
    page.close()
    assert job._stopped.wait(30)
    stepped.go_on()
    assert stepped.ended.wait(30)
    assert stepped.layers_done == 3


def test_two_tabs_at_once_one_waits_and_both_get_their_trace(server, stepped, open_live):
    first, second = open_live(server), open_live(server)
    run(first, "The capital of France is")
    arrived(first, 0)
    run(second, "The capital of Italy is")
    expect(second.locator(".lw-live-progress")).to_contain_text("waiting for 1")
    stepped.go_on()
    for page, country in ((first, "France"), (second, "Italy")):
        whole(page)
        expect(page.locator(".lw-live-history li")).to_contain_text(country)


@pytest.mark.parametrize(
    ("prompt", "said"), [("a" * 20_001, "20,000"), ("a b " * 4800, "Shorten the prompt"), ("", "empty")]
)
def test_a_prompt_that_cannot_be_read_is_said_and_the_next_is_read(server, stepped, open_live, prompt, said):
    stepped.go_on()
    page = open_live(server)
    run(page, prompt)
    expect(page.get_by_role("alert").filter(has_text=said)).to_be_visible()
    run(page)
    whole(page)
    expect(page.locator(".lw-live-alert")).to_have_text("")


def test_a_model_that_fails_to_load_is_said_and_another_can_be_chosen(server, stepped, open_live):
    stepped.go_on()
    page = open_live(server)
    page.get_by_label("Model", exact=True).select_option("absent/model")
    expect(page.get_by_role("alert").filter(has_text="could not be reached")).to_be_visible()
    run(page, model=NAME)
    whole(page)


def test_results_can_be_shown_again_compared_and_come_back_after_a_reload(server, stepped, open_live):
    stepped.go_on()
    page = open_live(server)
    run(page)
    whole(page)
    run(page, lens="raw")
    whole(page, 2)
    shown = page.locator('.lw-live-history [aria-current="true"]')
    expect(shown).to_contain_text("raw")
    page.get_by_role("button", name=re.compile("^Compare with .*logit")).click()
    expect(page.get_by_role("button", name=re.compile("^Stop comparing with"))).to_be_visible()
    expect(page).to_have_url(re.compile("%22against%22%3A0"))
    page.locator(".lw-live-history li").first.get_by_role("button").first.click()
    expect(shown).to_contain_text("logit")
    page.reload()
    whole(page, 2)


def test_a_models_own_lens_is_offered_for_that_model_and_read_through(server, stepped, open_live):
    stepped.go_on()
    page = open_live(server)
    lens = page.get_by_role("form", name="Trace a prompt").get_by_label("Lens", exact=True)
    run(page, lens="jacobian")
    whole(page)
    expect(page.locator('.lw-live-history [aria-current="true"]')).to_contain_text("jacobian")
    expect(page.locator(".lw-badge-summary")).to_contain_text("jacobian lens")
    page.get_by_label("Model", exact=True).select_option("absent/model")
    expect(lens.locator('option[value="jacobian"]')).to_have_count(0)
    expect(lens).to_have_value("logit")


@pytest.mark.filterwarnings("ignore::layerwise.errors.PromptWarning")
def test_hostile_prompts_and_names_are_text(server, stepped, open_live):
    stepped.go_on()
    page = open_live(server)
    run(page, HOSTILE.replace("\0", ""), positions="all")
    whole(page)
    assert page.title() == "layerwise"
    assert page.locator("img").count() == 0
    shown = page.locator(".lw-live-history").inner_text()
    assert "\\u{202e}</script>" in shown
    page.get_by_label("Model", exact=True).select_option(index=2)
    expect(page.get_by_role("alert").filter(has_text="could not be reached")).to_be_visible()
    assert page.title() == "layerwise"


def test_a_server_that_has_ended_is_said(stepped, open_live):
    with serving(Session(models=[NAME], load=lambda name, progress: stepped)) as server:
        page = open_live(server)
    run(page)
    expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible()


@pytest.fixture
def runs(load_family, tmp_path):
    """A folder with a run of one question."""
    model = load_family("qwen3")
    study = {
        "name": "small",
        "title": "A small study",
        "description": "Of one question.",
        "models": [model.info.name],
        "questions": [{"id": "own", "prompt": PROMPT, "answers": [" Berlin"]}],
    }
    record(plan_study(study, "test", tmp_path), tmp_path / "runs" / "first", load=lambda name: model)
    return RunFolder(tmp_path / "runs")


def test_a_stored_run_is_opened_without_a_model_and_is_there_after_a_reload(runs, open_live):
    with serving(Session(folder=runs)) as server:
        page = open_live(server)
        assert page.get_by_label("Prompt", exact=True).count() == 0
        page.get_by_role("button", name="Open run").click()
        heading = page.get_by_role("heading", name="A small study").first
        expect(heading).to_be_visible()
        expect(page.get_by_role("button", name="Study", exact=True)).to_have_attribute("aria-pressed", "true")
        page.reload()
        expect(heading).to_be_visible()


def test_a_run_can_be_opened_once_the_prompt_is_read(runs, stepped, open_live):
    with serving(Session(models=[NAME], load=lambda name, progress: stepped, folder=runs)) as server:
        page = open_live(server)
        run(page)
        arrived(page, 0)
        opener = page.get_by_role("button", name="Open run")
        expect(opener).to_be_disabled()
        stepped.go_on()
        whole(page)
        opener.click()
        expect(page.get_by_role("heading", name="A small study").first).to_be_visible()


def test_from_a_question_the_history_leads_to_the_same_depth(runs, stepped, open_live):
    stepped.go_on()
    with serving(Session(models=[NAME], load=lambda name, progress: stepped, folder=runs)) as server:
        page = open_live(server)
        run(page)
        whole(page)
        page.get_by_role("button", name="Open run").click()
        page.locator("[data-question]").first.click()
        expect(page.get_by_text(re.compile("^Layer (\\d+) of \\1$")).first).to_be_visible()
        page.locator(".lw-live-history li").first.get_by_role("button").first.click()
        expect(page.get_by_text("Layer 30 of 30", exact=True).first).to_be_visible()


def test_the_page_without_its_token_shows_why(server, browser):
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto(server.url.partition("?")[0])
        expect(page.locator("body")).to_contain_text("Open the whole address")


def test_another_page_reads_nothing(server, browser):
    """One of another origin, with the token even."""
    with contextlib.closing(browser.new_context()) as context:
        page = context.new_page()
        page.goto("data:text/html,<p>elsewhere")
        asked = """async ([url, token]) => {
            try { return (await fetch(url, { headers: { Authorization: `Bearer ${token}` } })).status; }
            catch (error) { return "refused"; }
        }"""
        assert page.evaluate(asked, [f"http://127.0.0.1:{server.port}/api/document", server.token]) == "refused"
        frame = f'<iframe src="{server.url}"></iframe>'
        page.set_content(frame)
        time.sleep(0.5)
        assert not [inner for inner in page.frames[1:] if inner.locator(".lw-view").count()]
