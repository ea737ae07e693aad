"""Take the pictures of the viewer that README and documentation show, from views made here.

    .venv/bin/python docs/pictures.py    (or: make pictures)

Needs chromium or google-chrome, and the run of experiment 004 for the picture of a study.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

import layerwise as lw
from layerwise.store.run import open_run

FIGURES = Path(__file__).parent / "figures"
PROMPT = "Question: What is the capital of Germany? Answer:"
STUDY = Path("runs/004_calibration")


def main() -> None:
    """Make the views and take their pictures."""
    parser = argparse.ArgumentParser("docs/pictures.py", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--study", type=Path, default=STUDY, help=f"a stored run ({STUDY})")
    asked = parser.parse_args()
    trace = lw.load("gemma-3-270m").trace(PROMPT, answer=" Berlin", positions="all")
    with tempfile.TemporaryDirectory() as folder, _browser() as browser:
        one, study = Path(folder) / "trace.html", Path(folder) / "study.html"
        trace.to_html(one)
        open_run(asked.study).to_html(study)
        for scheme in ("light", "dark"):
            _take(browser, one, f"view-{scheme}.png", (1280, 760), scheme)
        _take(browser, one, "view-narrow.png", (420, 900), "dark")
        _take(browser, study, "view-study.png", (1280, 900), "light")


@contextmanager
def _browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SystemExit("Pictures are taken in a browser, and neither chromium nor google-chrome is installed here.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


def _take(browser: Browser, page_file: Path, name: str, size: tuple[int, int], scheme: str) -> None:
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    page.goto(page_file.as_uri())
    page.wait_for_selector(".lw-headline:visible, .lw-panel-study:visible")
    page.wait_for_timeout(500)  # two frames would do; a busy machine draws late
    page.screenshot(path=FIGURES / name)
    page.close()
    print(f"{FIGURES / name}")


if __name__ == "__main__":
    main()
