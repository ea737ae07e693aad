"""The viewer in headless Chromium: until a trace is drawn, what a move of the mouse costs, frames lost in scrolling.

Speeds are of made-up traces of a given size, whose cells change as a model's do; the size of a page
is that of a bundled model's trace. Needs the package playwright and an installed Chromium.
"""

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from benchmarks.machine import describe
from benchmarks.made_up import made_up_trace
from benchmarks.page import measured_on, put
from benchmarks.tables import Table
from layerwise.view.document import FORMAT, document_json
from layerwise.view.page import page_html

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_EXAMPLE = "example: python -m benchmarks.viewer --rounds 3"
_MODEL, _POSITIONS = "smollm2-135m", 50
_WINDOW = {"width": 1280, "height": 800}
_SECONDS = 5
_STEP = 24
"""Pixels that each frame scrolls by."""

_LIMITS = {"paint": 1000, "hover": 16, "size": 1.5}
"""Milliseconds, milliseconds, MB (10⁶ bytes)."""

_UNTIL_DRAWN = """
new Promise((drawn) => {
  const look = () => {
    const canvas = document.querySelector(".lw-grid canvas");
    if (!canvas || !canvas.width) return requestAnimationFrame(look);
    // The next frame has it painted; the task after that frame runs once it is done.
    requestAnimationFrame(() => {
      const after = new MessageChannel();
      after.port1.onmessage = () => drawn(performance.now());
      after.port2.postMessage(0);
    });
  };
  look();
})
"""

_HOVERS = """
async (count) => {
  const grid = document.querySelector(".lw-grid");
  const box = grid.getBoundingClientRect();
  const times = [];
  for (let n = 0; n < count; n++) {
    const clientX = box.left + 60 + ((n * 97) % (Math.min(box.width, innerWidth) - 80));
    const clientY = box.top + 5 + ((n * 61) % (Math.min(box.height, innerHeight - box.top) - 60));
    let began = performance.now();
    grid.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY, bubbles: true }));
    let spent = performance.now() - began;
    // What the frame costs: from its first callback to the task after it. Waiting for the screen is nobody's cost.
    spent += await new Promise((done) => {
      requestAnimationFrame((start) => {
        began = performance.now();
        const after = new MessageChannel();
        after.port1.onmessage = () => done(performance.now() - began);
        after.port2.postMessage(0);
      });
    });
    times.push(spent);
  }
  return times;
}
"""

_SCROLL = """
async ([seconds, step]) => {
  const grid = document.querySelector(".lw-grid");
  const most = grid.scrollWidth - grid.clientWidth;
  const frames = [];
  let direction = step;
  await new Promise((done) => {
    const next = (now) => {
      frames.push(now);
      if (now - frames[0] >= 1000 * seconds) return done();
      if (grid.scrollLeft + direction > most || grid.scrollLeft + direction < 0) direction = -direction;
      grid.scrollLeft += direction;
      requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
  });
  return frames;
}
"""


def main() -> None:
    """Measure, show, and keep what was found."""
    parser = argparse.ArgumentParser("python -m benchmarks.viewer", description=__doc__, epilog=_EXAMPLE)
    parser.add_argument("--rounds", type=int, default=7, help="how often a page is opened (7)")
    parser.add_argument("--without", default="", metavar="NAMES", help="leave out: size (which loads a model)")
    parser.add_argument("--refresh", action="store_true", help="rewrite the measured part of docs/performance.md")
    asked = parser.parse_args()
    with _chromium() as browser, tempfile.TemporaryDirectory() as folder:
        middle, large = (_written(Path(folder), n_layers, count) for n_layers, count in ((30, 256), (80, 2000)))
        rows = [
            _paint(browser, middle, asked.rounds, "30 × 256"),
            _hover(browser, middle, "30 × 256"),
            _hover(browser, large, "80 × 2000"),
            _scroll(browser, large, "of scrolling, 80 × 2000", _STEP, "0"),
            _scroll(browser, large, "in which nothing moves (the machine's own)", 0, ""),
        ]
    if "size" not in asked.without.split(","):
        rows.append(_size())
    table = Table("The viewer in headless Chromium", ["", "measured", "limit"], rows)
    Console().print(table.as_rich())
    if asked.refresh:
        put("bench-viewer", "\n" + "\n\n".join([measured_on(describe()), table.as_markdown()]) + "\n")


def _written(folder: Path, n_layers: int, count: int) -> Path:
    trace = made_up_trace(n_layers, count)
    file = folder / f"{n_layers}x{count}.html"
    document = {"format": FORMAT, "title": trace["label"], "traces": [trace], "study": None}
    file.write_text(page_html(document), encoding="utf-8")
    return file


@contextmanager
def _chromium() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise SystemExit("No chromium or google-chrome is installed here.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def _opened(browser: "Browser", file: Path) -> Iterator["Page"]:
    context = browser.new_context(viewport={"width": _WINDOW["width"], "height": _WINDOW["height"]})
    page = context.new_page()
    page.goto(file.as_uri(), wait_until="commit")
    try:
        yield page
    finally:
        context.close()


def _paint(browser: "Browser", file: Path, rounds: int, size: str) -> Sequence[str]:
    times = []
    for _ in range(rounds):
        with _opened(browser, file) as page:
            times.append(page.evaluate(_UNTIL_DRAWN))
    measured = f"{median(times):.0f} ms (median of {rounds}; slowest {max(times):.0f} ms)"
    return [f"from navigation to a drawn grid, {size}", measured, f"{_LIMITS['paint']} ms"]


def _hover(browser: "Browser", file: Path, size: str) -> Sequence[str]:
    with _opened(browser, file) as page:
        page.evaluate(_UNTIL_DRAWN)
        times: list[float] = page.evaluate(_HOVERS, 200)
    slow = float(np.quantile(times, 0.95))
    measured = f"{median(times):.1f} ms (median of 200; 95 % within {slow:.1f} ms)"
    return [f"a move of the mouse to another cell, {size}", measured, f"{_LIMITS['hover']} ms"]


def _scroll(browser: "Browser", file: Path, what: str, step: int, limit: str) -> Sequence[str]:
    with _opened(browser, file) as page:
        page.evaluate(_UNTIL_DRAWN)
        frames: list[float] = page.evaluate(_SCROLL, [_SECONDS, step])
    gaps = np.diff(frames)
    shown, dropped = len(gaps), int(np.maximum(np.round(gaps * 60 / 1000) - 1, 0).sum())
    measured = f"{dropped} of {shown + dropped} dropped; longest gap {gaps.max():.0f} ms"
    return [f"frames in {_SECONDS} s {what}", measured, limit]


def _size() -> Sequence[str]:
    import layerwise as lw
    from layerwise.view.document import view_document

    model = lw.load(_MODEL, device="cpu")
    prompt = "The capital of Germany is Berlin, and the capital of France is Paris. " * 4 + "The capital of Italy is"
    trace = model.trace(prompt, " Rome", positions=f"-{_POSITIONS}:")
    page = page_html(view_document([trace]))
    data = document_json(view_document([trace]))
    measured = f"{len(page.encode()) / 1e6:.2f} MB, {len(data) / 1e6:.2f} MB of it data"
    return [
        f"page of a trace of {_MODEL}, {trace.n_layers} × {len(trace.positions)}",
        measured,
        f"{_LIMITS['size']} MB",
    ]


if __name__ == "__main__":
    main()
