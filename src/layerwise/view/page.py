"""A view as one HTML file: nothing is fetched, and no script runs but the view's own."""

from functools import cache
from html import escape
from pathlib import Path

from layerwise.errors import StoreError
from layerwise.files import write_text_whole
from layerwise.policy import only_script
from layerwise.view.document import Json, document_json
from layerwise.view.module import module_text, style_text
from layerwise.view.still import still_html

_START = """
mount(
  document.getElementById("lw-view"),
  document.getElementById("lw-document")?.textContent ?? "",
  { fragment: true },
);
"""

_STYLE = """
html, body { margin: 0; }
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
noscript, .lw-waiting { display: block; padding: 1rem; }
.lw-waiting { animation: lw-waited 0s 3s both; }
@keyframes lw-waited { from { opacity: 0; } to { opacity: 1; } }
"""


def page_html(document: Json) -> str:
    """Return a page that draws a document.

    The data come last, so a file that was cut short still says so: in the data by the script, before them by a
    sentence that only the script takes away. Where scripts are off there are tables.
    """
    # No `<` is left in the data, and so nothing that could end their element; outside of strings JSON has none.
    data = document_json(document).replace("<", "\\u003c")
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(document["title"])}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<style>{_STYLE}{style_text()}</style></head>\n"
        '<body><main id="lw-view"><p class="lw-waiting">This view has not been drawn. If this stays, the file was '
        "cut short, or scripts are off.</p></main>\n"
        f"<noscript>{still_html(document)}</noscript>\n"
        f'<script type="module">{_script()}</script>\n'
        f'<script type="application/json" id="lw-document">{data}</script></body></html>\n'
    )


def write_page(document: Json, path: str | Path) -> None:
    """Write a document's page to `path`, whole or not at all. Raises StoreError if it cannot be written."""
    try:
        write_text_whole(Path(path), page_html(document))
    except OSError as error:
        raise StoreError(f"The view could not be written to {path}: {error.strerror or error}.") from error


@cache
def _script() -> str:
    return module_text() + _START


@cache
def _policy() -> str:
    """Return the content-security policy: the page's own script by its hash, pictures that it draws, nothing else."""
    return (
        f"default-src 'none'; {only_script(_script())}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
