"""A report as one HTML file: its Markdown, with its pictures as charts that answer the mouse, offline."""

import base64
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path

from layerwise.charts import AnyChart
from layerwise.policy import only_script

_PICTURE = re.compile(r'<img src="(?P<path>[^"]+)" alt="(?P<alt>[^"]*)" />')
_PAGE_LINK = re.compile(r'href="(?P<path>[^"#:]+\.md)"')
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none';"
_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #222; background: #fff;
       max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2, h3 { line-height: 1.2; margin-top: 2rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; font-size: .9rem; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top; }
th { border-bottom: 2px solid #888; text-align: left; }
td code { white-space: nowrap; }
section.page td code { white-space: normal; overflow-wrap: anywhere; }
img { max-width: 100%; }
code { background: #f4f4f4; border-radius: 3px; padding: 0 .2em; font-size: .92em; }
figure { margin: 1rem 0; overflow-x: auto; }
figcaption { color: #555; font-size: .9rem; }
section.page { border-top: 2px solid #888; margin-top: 3rem; }
summary { cursor: pointer; }
"""


def web_page(
    markdown: str, charts: Mapping[str, AnyChart], title: str, pages: Mapping[str, tuple[str, str]], folder: Path
) -> str:
    """Return a self-contained HTML page.

    Args:
        markdown: the report. Nothing in it that came from a study or a model is markup.
        charts: by the path of the picture that they replace.
        title: of the page.
        pages: further Markdown that the report links to, by path: (title, text). They follow, folded up.
        folder: that paths start from. Pictures that no chart replaces are taken in from there.
    """
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": True}).enable("table")
    body = renderer.render(markdown)
    for path, (name, text) in pages.items():
        body += (
            f'<section class="page" id="{_anchor(path)}"><details><summary>{html.escape(name)}</summary>\n'
            f"{_from_page(path, renderer.render(text))}</details></section>\n"
        )
    body = _PAGE_LINK.sub(
        lambda found: f'href="#{_anchor(found["path"])}"' if found["path"] in pages else found[0], body
    )
    drawn: dict[str, object] = {}

    def place(found: re.Match[str]) -> str:
        chart = charts.get(found["path"])
        if chart is None:
            return _taken_in(folder, found)
        name = f"chart-{len(drawn)}"
        drawn[name] = chart.to_dict()
        return f'<figure><div id="{name}"></div><figcaption>{found["alt"]}</figcaption></figure>'

    body = _PICTURE.sub(place, body)
    script = _script(drawn)
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        # Nothing is fetched, and no script runs but the one below.
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY} {only_script(script)}">\n'
        f"<style>{_STYLE}</style></head><body>\n{body}\n"
        f'<script type="module">{script}</script>\n</body></html>\n'
    )


def _from_page(path: str, body: str) -> str:
    """Return a page with its pictures' paths as seen from the report."""
    return _PICTURE.sub(lambda found: found[0].replace('src="', f'src="{Path(path).parent.as_posix()}/', 1), body)


def _taken_in(folder: Path, found: re.Match[str]) -> str:
    """Return a picture as data, where it is one of the report's files; another's address stays, and is not fetched."""
    path = (folder / html.unescape(found["path"])).resolve()
    if path.suffix != ".png" or not path.is_relative_to(folder.resolve()) or not path.is_file():
        return found[0]
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{found["alt"]}" />'


def _anchor(path: str) -> str:
    return "page-" + re.sub(r"[^A-Za-z0-9]+", "-", Path(path).with_suffix("").as_posix())


def _script(drawn: Mapping[str, object]) -> str:
    """Return what draws the charts, with all the libraries that it needs."""
    if not drawn:
        return ""
    import vl_convert

    specs = json.dumps(drawn, sort_keys=True, ensure_ascii=True)
    # ast: expressions are interpreted, so the page need not allow text to become code.
    show = "for (const [name, spec] of Object.entries(specs)) vegaEmbed('#' + name, spec, {actions: false, ast: true});"
    bundle = vl_convert.javascript_bundle(f"const specs = {specs};\n{show}\n")
    return re.sub(r"<(?=/script|!--)", r"\\x3c", bundle, flags=re.IGNORECASE)  # nothing in it ends or nests the element
