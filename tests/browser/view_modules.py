"""The viewer's files as modules in a page, so that a test can call their functions."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Route

from layerwise.view.module import WEB

_HOME = "http://layerwise.test/"


class Modules:
    """Calls functions of the viewer's files in a page."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def call(self, code: str, *files: str, **given: Any) -> Any:
        """Return what `code`, the body of a function, returns: with the files' exports and what is given by name."""
        imports = f"Object.assign({{}}, ...await Promise.all({list(files)!r}.map((file) => import(`/${{file}}.js`))))"
        names = "const {" + ", ".join(given) + "} = given;"
        return self.page.evaluate(f"async (given) => {{ const m = {imports}; {names} {code} }}", given)


@contextmanager
def viewer_modules(browser: Browser) -> Iterator[Modules]:
    """Open a page that can import the viewer's files. Nothing is fetched from anywhere."""
    page = browser.new_page()
    page.route(_HOME + "**", _serve)
    page.goto(_HOME)
    yield Modules(page)
    page.close()


def _serve(route: Route) -> None:
    name = route.request.url.removeprefix(_HOME)
    if name.endswith(".js"):
        route.fulfill(body=(WEB / name).read_text("utf-8"), content_type="text/javascript")
    else:
        route.fulfill(body="<!doctype html><title>modules</title>", content_type="text/html")
