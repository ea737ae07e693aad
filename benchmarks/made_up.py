"""Traces of any size, made up for what only shows them."""

import numpy as np

from layerwise.tracing.layer_measures import MEASURES
from layerwise.view.document import Json, described, packed

_VOCABULARY = 32_000
_TOP = 5


def made_up_trace(n_layers: int, n_positions: int, seed: int = 0) -> Json:
    """Return a document's trace of this size: leading tokens that change now and then, as a model's do."""
    draw = np.random.default_rng(seed)
    shape = (n_layers + 1, n_positions)
    ids = np.stack([_leaders_at(draw, n_layers) for _ in range(n_positions)], axis=1)
    first = np.log(draw.beta(1, 3, shape))
    top_logprobs = first[..., None] - np.cumsum(draw.exponential(0.7, (*shape, _TOP)), axis=-1)
    tops = np.sort(draw.integers(0, _VOCABULARY, (*shape, _TOP)), axis=-1)
    tops[..., 0], top_logprobs[..., 0] = ids, first
    seen = np.unique(tops).tolist()
    model = {"name": "made up", "location": "", "revision": None, "dtype": "float32", "device": "cpu"}
    return {
        "label": f"made up, {n_layers} × {n_positions}",
        "model": model | {"n_layers": n_layers, "parameters": 0},
        "lens": "logit",
        "prompt": "made up",
        "tokens": [[token, _text(token)] for token in draw.integers(0, _VOCABULARY, n_positions).tolist()],
        "generated": 0,
        "positions": list(range(n_positions)),
        "n_layers": n_layers,
        "texts": {"ids": seen, "texts": [_text(token) for token in seen]},
        "top_ids": packed(tops),
        "top_logprobs": packed(top_logprobs),
        "measures": {name: packed(draw.random(shape)) for name in MEASURES},
        "described": described(MEASURES),
        "leaders": [_leaders(draw, ids[:, place]) for place in range(n_positions)],
        "tracked": [],
        "answer": None,
        "wrong": None,
        "milestones": {},
        "output": [{"id": int(ids[-1, -1]), "text": _text(int(ids[-1, -1])), "prob": 0.5}],
        "checks": None,
        "trust": {"level": "stated", "sentences": ["Made up."]},
        "warnings": [],
        "recipes": {"python": "", "cli": ""},
        "versions": {},
    }


def _leaders_at(draw: np.random.Generator, n_layers: int) -> np.ndarray:
    """Return a position's leading token at each layer: about a quarter as many as there are layers."""
    changes = np.cumsum(draw.random(n_layers + 1) < 0.25)
    return draw.integers(0, _VOCABULARY, n_layers + 2)[changes]


def _leaders(draw: np.random.Generator, ids: np.ndarray) -> Json:
    leading = list(dict.fromkeys(ids.tolist()))
    return {"ids": leading, "logprobs": packed(np.log(draw.random((len(ids), len(leading)))))}


def _text(token: int) -> str:
    return f" word{token}" if token % 3 else f"piece{token}"
