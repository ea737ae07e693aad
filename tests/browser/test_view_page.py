"""The view's file in a real browser: nothing is fetched, no other script runs, and half a file says that it is one."""

import re

import pytest

from layerwise.view.page import page_html

from .view_pages import document, needs_chromium, tell

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def whole():
    return document(tell())


def opened(browser, file, **context):
    """A page of the file, and lists that what it asks for and logs is added to."""
    page = browser.new_context(**context).new_page()
    asked, logged = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.goto(file.as_uri())
    return page, asked, logged


def test_a_file_draws_itself_and_asks_for_nothing(browser, whole, tmp_path):
    file = tmp_path / "view.html"
    file.write_text(page_html(whole), "utf-8")
    page, asked, logged = opened(browser, file, offline=True)
    page.locator(".lw-grid canvas").wait_for()
    assert page.title() == whole["title"]
    assert page.get_by_text("This view has not been drawn").count() == 0
    assert [url for url in asked if url != file.as_uri() and not url.startswith("data:,")] == []
    assert logged == []
    page.context.close()


def test_no_other_script_runs_and_nothing_can_be_sent(browser, whole, tmp_path):
    """As if something had got into the page after all."""
    file = tmp_path / "view.html"
    bad = "<script>window.ran = 1</script><img src='http://127.0.0.1:9/x' onerror='window.ran = 2'><p onclick='1'>"
    file.write_text(page_html(whole).replace("<noscript>", bad + "<noscript>"), "utf-8")
    page, _, logged = opened(browser, file)
    page.locator(".lw-grid canvas").wait_for()
    assert page.evaluate("window.ran") is None
    sent = page.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', (error) => error.message)")
    assert "Failed to fetch" in sent
    refused = [line for line in logged if "Content Security Policy" in line]
    assert len(refused) >= 4, logged
    page.context.close()


@pytest.mark.parametrize("share", [0.995, 0.9, 0.75, 0.5, 0.3])
def test_a_file_that_was_cut_short_says_so(browser, whole, tmp_path, share):
    text = page_html(whole)
    start = text.index("<noscript>")
    file = tmp_path / "cut.html"
    file.write_text(text[: start + int(share * (len(text) - start))], "utf-8")
    page, _, _ = opened(browser, file)
    said = page.get_by_text(re.compile("cut short"))
    said.first.wait_for(timeout=10_000)
    page.wait_for_timeout(3500)  # until then the page may still be on its way
    assert page.evaluate("getComputedStyle(document.querySelector('#lw-view p')).opacity") == "1"
    page.context.close()


def test_a_file_cut_in_its_data_is_read_by_the_script(browser, whole, tmp_path):
    text = page_html(whole)
    file = tmp_path / "cut.html"
    file.write_text(text[: text.index('id="lw-document">') + 4000], "utf-8")
    page, _, logged = opened(browser, file)
    page.get_by_role("alert").get_by_text(re.compile("were cut short|was cut short")).wait_for()
    assert logged == []
    page.context.close()


def test_where_scripts_are_off_there_are_tables(browser, whole, tmp_path):
    file = tmp_path / "view.html"
    file.write_text(page_html(whole), "utf-8")
    page, _, _ = opened(browser, file, java_script_enabled=False)
    assert page.locator("noscript table tbody tr").count() == 13
    assert page.locator("noscript bdi", has_text="␣Berlin").count() > 0
    page.context.close()
