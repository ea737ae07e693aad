"""What tests of the viewer share: documents whose every number is known, and pages of them."""

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from layerwise.view.document import FORMAT, described, document_json, packed
from layerwise.view.page import page_html

Json = dict[str, Any]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium or google-chrome is installed here")

WORDS = (
    " Berlin", " the", " a", " Germany", " Munich", "\n", " berlin", "Berlin", " capital", " of", " is", " The",
    " city", " Paris", " Bonn", " Frankfurt", ",", ".", " located", " in", " called", " known", " also", " one", "ing",
    "tion", " Hamburg", " Vienna", " Europe", " country", " Rhine", " home",
)  # fmt: skip
"""The texts of tokens 0 to 31; token 0 is the answer."""

PROMPT = (11, 8, 9, 3, 10)
"""The ids of " The capital of Germany is"."""

GRID = "[role=grid]"
FOCUSED = "[role=gridcell]"


@dataclass(frozen=True)
class Story:
    """A made-up trace with its whole distribution, so that a test can say what must be shown."""

    document: Json
    """One trace of the format."""
    logprobs: np.ndarray
    """[layer, position, token]"""


def tell(
    n_layers: int = 12,
    tokens: Sequence[int] = PROMPT,
    *,
    words: Sequence[str] = WORDS,
    answer_from: int | None = 8,
    unsettled: Sequence[int] = (),
    with_answer: bool = True,
    lens: str = "logit",
    model: str = "toy",
    top_k: int = 5,
    seed: int = 0,
    generated: int = 0,
) -> Story:
    """Return a trace in which token 0, the answer, leads after the prompt from layer `answer_from` on.

    In the layers of `unsettled` it does not, and with None it never leads. Before it, " the" leads.
    """
    random = np.random.default_rng(seed)
    layers, places = n_layers + 1, len(tokens)
    logits = random.normal(size=(layers, places, len(words))) * np.linspace(0.5, 2.5, layers)[:, None, None]
    last = places - generated - 1
    for layer in range(layers):
        leads = answer_from is not None and layer >= answer_from and layer not in unsettled
        top = logits[layer, last].max()
        logits[layer, last, 1] = top + 0.2
        logits[layer, last, 0] = top + (1.2 if leads else -0.4)
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    parts = _trace(logprobs, tokens, words, last, top_k, with_answer)
    prompt = "".join(words[token] for token in tokens[: last + 1])
    named = {
        "label": f"{model} · {lens} · {prompt[:40]}",
        "model": {"name": model, "dtype": "float32", "device": "cpu", "n_layers": n_layers},
        "lens": lens,
        "prompt": prompt,
        "generated": generated,
        "n_layers": n_layers,
    }
    return Story(named | parts, logprobs)


def document(*stories: Story, title: str = "The capital of Germany is") -> Json:
    """Return the document of some traces."""
    return {"format": FORMAT, "title": title, "traces": [story.document for story in stories], "study": None}


def changed(whole: Json, change: Callable[[Json], object]) -> Json:
    """Return a copy of a document after `change`."""
    copied = copy.deepcopy(whole)
    change(copied)
    return copied


def write(folder: Path, whole: Json, name: str = "view.html") -> Path:
    """Return the page of a document, written to `folder`."""
    path = folder / name
    path.write_text(page_html(whole), encoding="utf-8")
    return path


def write_as_it_is(folder: Path, bad: Json) -> Path:
    """Return a page with a document in it that no page would be made of."""
    good = document(tell())
    [before, behind] = page_html(good).split(document_json(good))
    path = folder / "bad.html"
    path.write_text(before + document_json(bad).replace("<", "\\u003c") + behind, encoding="utf-8")
    return path


def state_of(page):
    """What the page's address holds, once it has been written."""
    page.wait_for_timeout(250)
    return json.loads(unquote(page.evaluate("location.hash.slice(1)")) or "{}")


def wait_for_state(page, **wanted):
    """The address follows what is chosen a moment later."""
    for _ in range(100):
        state = state_of(page)
        if all(state.get(name) == value for name, value in wanted.items()):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"expected {wanted}, got {state_of(page)}")


def focused(page):
    return page.locator(FOCUSED).text_content()


def cell_at(page, story, layer, place):
    """The middle of a cell on the screen, in a grid that shows everything."""
    box = page.locator(GRID).bounding_box()
    columns, layers = len(story.document["positions"]), story.document["n_layers"]
    left = 30 + 7 * len(str(layers))
    wide = page.evaluate("document.querySelector('.lw-grid-sizer').offsetWidth")
    return box["x"] + 1 + left + (place + 0.5) * (wide - left) / columns, box["y"] + 1 + (layers - layer + 0.5) * 22


def colour_at(page, x, y):
    """The colour of the grid's canvas at a point of the screen."""
    return page.evaluate(
        """([x, y]) => {
            const canvas = document.querySelector('.lw-grid-canvas');
            const box = canvas.getBoundingClientRect();
            const at = [(x - box.left) * devicePixelRatio, (y - box.top) * devicePixelRatio];
            return [...canvas.getContext('2d').getImageData(...at, 1, 1).data.slice(0, 3)];
        }""",
        [x, y],
    )


def frames(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def choose_colour(page, name):
    page.get_by_role("combobox", name="Colour", exact=True).select_option(name)
    frames(page)


def _trace(
    logprobs: np.ndarray, tokens: Sequence[int], words: Sequence[str], last: int, top_k: int, with_answer: bool
) -> Json:
    places = logprobs.shape[1]
    order = np.argsort(-logprobs, axis=-1, kind="stable")
    probs = np.exp(logprobs)
    final = logprobs[-1]
    return {
        "tokens": [[int(token), words[token]] for token in tokens],
        "positions": list(range(places)),
        "texts": {"ids": list(range(len(words))), "texts": list(words)},
        "top_ids": packed(order[:, :, :top_k].astype(np.int32)),
        "top_logprobs": packed(np.take_along_axis(logprobs, order, -1)[:, :, :top_k].astype(np.float32)),
        "measures": {
            "entropy_bits": packed((-(probs * logprobs).sum(-1) / np.log(2)).astype(np.float32)),
            "kl_from_final_bits": packed(((np.exp(final) * (final - logprobs)).sum(-1) / np.log(2)).astype(np.float32)),
            "kl_to_final_bits": packed(((probs * (logprobs - final)).sum(-1) / np.log(2)).astype(np.float32)),
        },
        "described": described(("entropy_bits", "kl_from_final_bits", "kl_to_final_bits")),
        "leaders": [_leaders(logprobs[:, place], order[:, place, 0]) for place in range(places)],
        "tracked": [_tracked(logprobs, order, 0, words)] if with_answer else [],
        "answer": _answer(logprobs[:, last], order[:, last], words) if with_answer else None,
        "wrong": None,
        "milestones": {},
        "output": [{"id": int(i), "text": words[i], "prob": float(probs[-1, last, i])} for i in order[-1, last, :3]],
        "checks": {"identity_error": 1e-6, "identity_limit": 1e-3, "covered_by": "this prompt"},
        "trust": {"level": "good", "sentences": ["The last layer agrees with the model's own output."]},
        "warnings": [],
        "recipes": {"python": "model.trace('…')", "cli": "layerwise trace"},
        "versions": {"layerwise": "0.1"},
    }


def _leaders(logprobs: np.ndarray, leading: np.ndarray) -> Json:
    ids = list(dict.fromkeys(int(one) for one in leading))
    return {"ids": ids, "logprobs": packed(logprobs[:, ids].astype(np.float32))}


def _tracked(logprobs: np.ndarray, order: np.ndarray, token: int, words: Sequence[str]) -> Json:
    ranks = np.argmax(order == token, axis=-1) + 1
    return {
        "id": token,
        "text": words[token],
        "logprobs": packed(logprobs[:, :, token].astype(np.float32)),
        "ranks": packed(ranks.astype(np.int32)),
    }


def _answer(logprobs: np.ndarray, order: np.ndarray, words: Sequence[str]) -> Json:
    ranks = np.argmax(order == 0, axis=-1) + 1
    mine = logprobs[:, 0]
    return {
        "texts": [words[0]],
        "ids": [0],
        "known": bool(ranks[-1] == 1),
        "deciding": {"id": 0, "text": words[0], "index": 0},
        "prob": packed(np.exp(mine).astype(np.float32)),
        "rank": packed(ranks.astype(np.int32)),
        "logprob": packed(mine.astype(np.float32)),
        "margin": packed((mine - logprobs[:, 1:].max(-1)).astype(np.float32)),
        "first_token_prob": packed(np.exp(mine).astype(np.float32)),
        "first_token_rank": packed(ranks.astype(np.int32)),
    }
