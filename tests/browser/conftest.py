"""One browser for all tests of the viewer, and pages in it that must not log an error."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from .view_pages import CHROMIUM, Json, write

ViewOpener = Callable[..., Page]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no chromium or google-chrome is installed here")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_view(browser: Browser, tmp_path: Path) -> Iterator[ViewOpener]:
    """Open a document, or a page that lies in a file, and fail at the end if anything was logged as an error.

    `state` is what the page's address asks for; `size` and `scheme` are the window's.
    """
    errors: list[str] = []
    contexts = []

    def opened(
        whole: Json | Path,
        *,
        state: dict[str, Any] | str | None = None,
        size: tuple[int, int] = (1400, 900),
        scheme: Any = "light",
        **more: Any,
    ) -> Page:
        page_file = whole if isinstance(whole, Path) else write(tmp_path, whole, f"view-{len(contexts)}.html")
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce", **more
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        asked = "" if state is None else state if isinstance(state, str) else quote(json.dumps(state))
        page.goto(page_file.as_uri() + (f"#{asked}" if asked else ""))
        page.wait_for_selector(".lw-view")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []
