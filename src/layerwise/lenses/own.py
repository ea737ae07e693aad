"""Where a model's own lenses lie: shipped with layerwise, or fitted on this machine. Needs no PyTorch."""

import re
from pathlib import Path

from layerwise.errors import LensError, ModelError
from layerwise.lens_spec import METHODS
from layerwise.lenses.folder import is_lens_folder
from layerwise.models.machine.cache import cache_folder
from layerwise.models.sources.names import resolve
from layerwise.text import harmless, one_line
from layerwise.types import shown_name

SHIPPED = Path(__file__).parent / "data"
"""MODEL/METHOD: the lenses that come with layerwise."""


def fitted_here() -> Path:
    """Return the folder of the lenses that were fitted on this machine, also as MODEL/METHOD. It need not exist."""
    return cache_folder() / "lenses"


def own_lens_folder(model_name: str, method: str) -> Path | None:
    """Return the folder of a model's own lens; None without one.

    One that was fitted here goes before one that comes with layerwise: somebody asked for it.

    What is found is still compared with the model's weights when it is opened.
    """
    model = model_folder(model_name)
    places = [] if model is None else [root / model / method for root in (fitted_here(), SHIPPED)]
    return next((place for place in places if is_lens_folder(place)), None)


def place_for_own(model_name: str, method: str) -> Path:
    """Return the folder to put a model's own lens into, so that it is asked for by its kind alone.

    Raises:
        LensError: random weights have no lenses of their own.
    """
    model = model_folder(model_name)
    if model is None:
        raise LensError(
            f"Where to put the lens of {harmless(one_line(model_name))} has to be said (--out DIR): random weights "
            "have no lenses of their own."
        )
    return fitted_here() / model / method


def own_lenses(model_name: str) -> tuple[str, ...]:
    """Return the methods of which a model has a lens of its own."""
    return tuple(method for method in METHODS if own_lens_folder(model_name, method))


def model_folder(model_name: str) -> str | None:
    """Return the name of the folders that hold a model's lenses, the same for all its aliases.

    None for random weights, which have none.
    """
    try:
        source = resolve(model_name)
    except ModelError:  # a model in memory: it goes by the name that its configuration has
        name = model_name
    else:
        if source.random:
            return None
        name = source.location
    return re.sub(r"[^\w.-]+", "--", shown_name(name)).lstrip(".") or None
