"""The page that the server gives out: the view's module, and where it finds its data."""

import html
import json
from dataclasses import dataclass
from functools import cached_property

from layerwise.policy import only_script
from layerwise.view.module import module_text, style_text

_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_STYLE = 'html, body { margin: 0; }\nbody { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }\n'
_ROOT = "lw-view"


@dataclass(frozen=True)
class Page:
    """A page that is the same for everybody: what it shows it asks for, with the token in its own address."""

    title: str
    live: bool
    """Whether something can be traced or opened here."""

    @cached_property
    def text(self) -> str:
        return (
            "<!doctype html>\n"
            f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(self.title)}</title>\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<link rel="icon" href="data:,">\n'
            f"<style>{_STYLE}{style_text()}</style></head><body>\n"
            f'<main id="{_ROOT}"></main>\n'
            f'<script type="module">{self._script}</script>\n</body></html>\n'
        )

    @cached_property
    def policy(self) -> str:
        """The content-security policy that belongs to the page: no script runs but its own."""
        return f"{_POLICY}; {only_script(self._script)}"

    @property
    def _script(self) -> str:
        live = json.dumps(self.live)
        return f'{module_text()}\nstartLive(document.getElementById("{_ROOT}"), {{ mount, live: {live} }});\n'
