import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from layerwise.errors import StoreError
from layerwise.tracing.trace import Leaders
from layerwise.view.document import document_json, view_document
from layerwise.view.page import page_html, write_page

PROMPT = "The capital of Germany is"
HOSTILE = "</script><script>alert(1)</script><!-- <script> \u2028 \u202e & \" ' \x00"
LIMIT = 1_500_000


class Elements(HTMLParser):
    """Each element's name and attributes, and the text up to the next tag, read as a browser without scripts would."""

    def __init__(self, text):
        super().__init__()
        self.found, self.texts, self._inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.texts.append("")
        self._inside = True

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.texts[-1] += data

    def all(self, tag):
        return [(attrs, text) for (name, attrs), text in zip(self.found, self.texts, strict=True) if name == tag]


@pytest.fixture(scope="module")
def trace(tiny):
    return tiny.trace(PROMPT, answer=" Berlin", positions="all")


def hostile(trace):
    model = replace(trace.model, name=HOSTILE)
    texts = dict.fromkeys(trace.texts, HOSTILE)
    return replace(trace, model=model, prompt=HOSTILE, texts=texts)


def test_the_page_holds_the_document(trace):
    document = view_document([trace])
    scripts = Elements(page_html(document)).all("script")
    assert [attrs for attrs, _ in scripts] == [{"type": "module"}, {"type": "application/json", "id": "lw-document"}]
    assert json.loads(scripts[1][1]) == document


def test_only_its_own_script_may_run_and_nothing_is_fetched(trace):
    text = page_html(view_document([trace]))
    page = Elements(text)
    [policy] = [attrs["content"] for attrs, _ in page.all("meta") if attrs.get("http-equiv")]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy
    assert "connect-src" not in policy
    script = page.all("script")[0][1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    fetched = [attrs for _, attrs in page.found if attrs.get("src") or attrs.get("href", "data:,") != "data:,"]
    assert not fetched
    assert text.index("Content-Security-Policy") < text.index("<style")


def test_no_text_of_the_data_ends_their_element(trace):
    document = view_document([hostile(trace)])
    text = page_html(document)
    scripts = Elements(text).all("script")
    assert len(scripts) == 2
    assert json.loads(scripts[1][1]) == document
    assert not re.search(r"[\x00-\x08\u2028\u2029\u202e]", text)


def test_where_scripts_are_off_there_is_a_table_in_which_no_text_is_markup(trace):
    found = Elements(page_html(view_document([hostile(trace)])))
    names = [name for name, _ in found.found]
    assert names.count("tr") == 1 + trace.n_layers + 1
    assert set(names) <= {
        *("html", "head", "meta", "title", "link", "style", "body", "main", "p", "noscript", "script"),
        *("div", "b", "bdi", "table", "thead", "tbody", "tr", "th", "td", "br", "small"),
    }
    assert not [attrs for _, attrs in found.found if any(name.startswith("on") for name in attrs)]


def test_the_data_come_last_so_that_a_part_of_the_page_can_say_that_it_is_one(trace):
    text = page_html(view_document([trace]))
    assert text.index("This view has not been drawn") < text.index("<script") < text.index('id="lw-document"')
    assert re.fullmatch(r"</script></body></html>\n", text[text.rindex("</script>") :])


def test_thirty_layers_at_fifty_positions_are_a_small_file(trace):
    """At the worst: every cell led by another token, none of which compresses to anything."""
    layers, positions, top_k = 31, 50, 5
    draw = np.random.default_rng(0)
    ids = draw.integers(0, 250_000, (layers, positions, top_k))
    grid = {
        name: draw.random((layers, positions), dtype=np.float32)
        for name in (
            *("entropy_bits", "kl_to_final_bits", "kl_from_final_bits", "kl_from_logit_lens_bits"),
            *("total_variation", "echo_mass", "residual_norm", "cosine_to_final"),
        )
    }
    large = replace(
        trace,
        tokens=trace.tokens[:1] * positions,
        positions=tuple(range(positions)),
        top_ids=ids,
        top_logprobs=draw.random(ids.shape, dtype=np.float32),
        texts={int(i): " token" for i in np.unique(ids)},
        answer=None,
        leaders=(Leaders(tuple(range(layers)), draw.random((layers, layers), dtype=np.float32)),) * positions,
        **grid,
    )
    size = len(page_html(view_document([large])).encode())
    assert size <= LIMIT, f"{size:,} bytes"


def test_a_page_is_written_whole_or_not_at_all(trace, tmp_path, monkeypatch):
    document = view_document([trace])
    write_page(document, tmp_path / "view.html")
    written = (tmp_path / "view.html").read_text("utf-8")
    assert written == page_html(document)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StoreError, match=r"could not be written to .*view.html: No space left on device"):
        write_page(view_document([trace], title="another"), tmp_path / "view.html")
    assert (tmp_path / "view.html").read_text("utf-8") == written
    assert [path.name for path in tmp_path.iterdir()] == ["view.html"]


def test_the_same_document_is_the_same_page(trace):
    assert page_html(view_document([trace])) == page_html(json.loads(document_json(view_document([trace]))))
