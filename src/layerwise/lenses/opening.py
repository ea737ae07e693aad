"""Finding the lens that is meant by a name, and making it ready for a model."""

import weakref
from pathlib import Path

from layerwise.lenses.belonging import expect_fitted_for
from layerwise.lenses.card import LensCard
from layerwise.lenses.finding import expect_kind, find_lens
from layerwise.lenses.fitted import FittedLens, Translators
from layerwise.lenses.names import LensName, lens_name
from layerwise.lenses.reading import read_any
from layerwise.models.loading.loaded import LoadedModel
from layerwise.readout.lenses import Lens, resolve_lens

_Look = list[tuple[str, int, int]]

_opened: weakref.WeakKeyDictionary[LoadedModel, dict[tuple[str, Path], tuple[_Look, FittedLens]]]
_opened = weakref.WeakKeyDictionary()
"""By model, name and place, with what the files looked like: a study's batches do not read them each."""

_ready: weakref.WeakKeyDictionary[FittedLens, weakref.WeakKeyDictionary[LoadedModel, FittedLens]]
_ready = weakref.WeakKeyDictionary()
"""Lenses that somebody holds, compared with a model and made ready for it."""


def open_lens(lens: str | Lens, model: LoadedModel) -> Lens:
    """Return a lens to read a model through.

    Args:
        lens: ``logit`` or ``raw``; ``ridge``, ``tuned``, ``jacobian`` or ``r`` for the model's own lens of that kind;
            one of these, a colon, and the folder or file that it is in, or the name that a Jacobian lens was published
            under; or a lens.
        model: the model.

    Raises:
        PromptError: there is no such kind of lens.
        LensError: there is no such lens, it is damaged, or it was fitted for another model.
    """
    if isinstance(lens, FittedLens) and lens.card is not None:
        ready = _ready.setdefault(lens, weakref.WeakKeyDictionary())
        if model not in ready:
            ready[model] = _made_ready(lens.card, lens.translators, lens.spec.name, model)
        return ready[model]
    if not isinstance(lens, str):
        return lens
    name = lens_name(lens)
    return _fitted(name, model) if name.is_fitted else resolve_lens(name.kind)


def _fitted(name: LensName, model: LoadedModel) -> FittedLens:
    found = find_lens(name, model.name)
    place = found.fetched()
    opened, look = _opened.setdefault(model, {}), _look(place)
    known = opened.get((name.shown, place))
    if known and known[0] == look:
        return known[1]
    card, translators = read_any(place)
    expect_kind(card, found)
    lens = _made_ready(card, translators, name.shown, model)
    opened[name.shown, place] = look, lens
    return lens


def _look(place: Path) -> _Look:
    """Return what tells a lens's files from those that are written to the same place later."""
    files = [each for each in place.iterdir() if each.is_file()] if place.is_dir() else [place]
    looks = [(file.name, file.stat()) for file in sorted(files) if file.exists()]
    return [(name, status.st_size, status.st_mtime_ns) for name, status in looks]


def _made_ready(card: LensCard, translators: Translators, shown: str, model: LoadedModel) -> FittedLens:
    """Return a lens for a model, if it is the model's."""
    notes = expect_fitted_for(card, shown, model)
    return FittedLens(card.spec(shown, notes), translators, card).to(model.device)
