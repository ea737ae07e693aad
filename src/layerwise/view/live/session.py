"""What a server holds and computes: one model at a time, the results so far, the runs that may be opened."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from layerwise.errors import PromptWarning
from layerwise.interrupts import collect_garbage
from layerwise.lens_spec import SPECS
from layerwise.lenses.own import own_lenses
from layerwise.types import Progress, TokenProb
from layerwise.view.document import Json, trace_part, view_document
from layerwise.view.live.asked import PROMPT_LIMIT, Asked, AskedError
from layerwise.view.live.folder import RunFolder
from layerwise.view.live.work import Listener

if TYPE_CHECKING:
    from layerwise.tracing.early_reader import LayerRead
    from layerwise.tracing.model import Model


Load = Callable[[str, Progress], "Model"]
"""Loads a model by name, and tells how far it is."""

_HISTORY = 40
"""How many results a reload of the page brings back."""

_TOLD = 64
"""Positions of a layer that are told of before there is a whole trace: the last ones, enough for a preview."""

_PAUSE = 0.1
"""Seconds between two messages of the same progress."""


class Session:
    """All that belongs to one server. `load`, `trace` and `open` run in the worker's thread."""

    def __init__(
        self,
        *,
        models: Sequence[str] = (),
        load: Load | None = None,
        folder: RunFolder | None = None,
        document: Json | None = None,
    ) -> None:
        """Begin without results.

        Args:
            models: names that may be asked for, the one to begin with first; none without live controls.
            load: loads one of them.
            folder: whose runs may be opened.
            document: what is shown at first.
        """
        self._models, self._load, self._folder = tuple(models), load, folder
        self._opened = document or view_document([], title="layerwise")
        self._made: list[Json] = []
        self._loaded: tuple[str, Model] | None = None

    @property
    def document(self) -> Json:
        """What a page shows that is opened now: what the server began with or opened since, then the latest results."""
        return {**self._opened, "traces": [*self._opened["traces"], *self._made]}

    @property
    def choices(self) -> Json:
        """What a page offers to choose from."""
        return {
            "models": list(self._models),
            "lenses": list(SPECS),
            "own_lenses": {name: list(own_lenses(name)) for name in self._models},
            "runs": None if self._folder is None else self._folder.listing(),
            "prompt_limit": PROMPT_LIMIT,
        }

    def load(self, name: str, listener: Listener) -> Json:
        """Bring a model into memory and say what it is."""
        info = self._model(name, _telling(listener)).info
        return {"loaded": {"name": name, "n_layers": info.n_layers, "context_length": info.context_length}}

    def trace(self, asked: Asked, listener: Listener) -> Json:
        """Trace a prompt; layers are told as they are computed."""
        _expect_offered(asked)
        progress = _telling(listener)
        model = self._model(asked.model, progress)
        [[trace]] = model.trace_all(
            [asked.request],
            lenses=(asked.lens,),
            progress=progress,
            on_layer=lambda read: listener.say({"layer": _layer_part(read)}),
        )
        for note in trace.notes:
            warnings.warn(note, PromptWarning, stacklevel=2)
        part = trace_part(trace)
        self._made = [*self._made, part][-_HISTORY:]
        return {"trace": part}

    def traces(self, asked: Sequence[Asked], listener: Listener) -> Json:
        """Trace prompts side by side, of one model and through one lens. They are not kept with the results."""
        for each in asked:
            _expect_offered(each)
        progress = _telling(listener)
        model = self._model(asked[0].model, progress)
        traces = model.trace_all([each.request for each in asked], lenses=(asked[0].lens,), progress=progress)
        return {"traces": [trace_part(trace) for [trace] in traces]}

    def open(self, name: str, listener: Listener) -> Json:
        """Return the document of a stored run, which stays with the results. No model is loaded."""
        from layerwise.view.study.study_part import study_of

        if self._folder is None:
            raise AskedError("This server was started without a folder of runs. Start it with --folder FOLDER.")
        run = self._folder.open(name)
        listener.say({"progress": ["reading the run", 0, None]})
        opened = view_document([], study=study_of(run))
        self._opened = {**self._opened, "study": opened["study"], "title": opened["title"]}
        return {"document": opened}

    def _model(self, name: str, progress: Progress) -> "Model":
        if self._load is None or name not in self._models:
            offered = f" Choose {' or '.join(self._models)}." if self._models else " Start it with --live."
            raise AskedError(f"This server offers no model of that name.{offered}")
        if self._loaded and self._loaded[0] == name:
            return self._loaded[1]
        self._loaded = None  # before the next is loaded: there may be no room for both
        collect_garbage()
        progress(f"loading {name}", 0, None)
        model = self._load(name, progress)
        self._loaded = name, model
        return model


def _expect_offered(asked: Asked) -> None:
    """Stop before a model is loaded at a lens that it has not; a page may not name a path on this machine."""
    offered = [*SPECS, *own_lenses(asked.model)]
    if other := sorted(asked.lenses - {*offered}):
        raise AskedError(f"This server offers no lens {other[0][:60]!r} here. Choose {' or '.join(offered)}.")


def _telling(listener: Listener) -> Progress:
    """Return a `progress` that tells of it at most every tenth of a second, and ends the work where nobody listens."""
    last: tuple[str, float] = ("", 0.0)

    def progress(what: str, done: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        if what != last[0] or now - last[1] >= _PAUSE or done == total:
            last = what, now
            listener.say({"progress": [what, done, total]})
        else:
            listener.check()

    return progress


def _layer_part(read: "LayerRead") -> Json:
    """Return a layer as the page takes it (docs/view-format.md)."""
    return {
        "index": read.layer,
        "n_layers": read.n_layers,
        "tokens": [[token.id, token.text] for token in read.tokens],
        "positions": list(read.positions[-_TOLD:]),
        "top": [[_told(token) for token in place] for place in read.top[-_TOLD:]],
    }


def _told(token: TokenProb) -> list[Any]:
    return [token.id, token.text, token.prob if math.isfinite(token.prob) else None]
