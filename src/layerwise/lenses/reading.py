"""The lens in a folder or file, whoever wrote it."""

from pathlib import Path

from layerwise.errors import LensError
from layerwise.lenses.card import LensCard
from layerwise.lenses.fitted import FittedLens, Translators
from layerwise.lenses.folder import is_lens_folder, read_lens
from layerwise.lenses.names import shown_lens
from layerwise.lenses.published.jacobian import read_jacobian
from layerwise.lenses.published.tuned import is_tuned_lens_folder, read_tuned
from layerwise.text import harmless


def load_lens(path: str | Path) -> FittedLens:
    """Return the fitted lens in a folder or file, with its `card`; `Model.trace(lens=…)` compares it with the model.

    Args:
        path: a folder that `layerwise lens fit` wrote, or a published lens: a Jacobian lens's file as `jlens` and
            TransformerLens write it, or a folder of tuned-lens. No code in it is run.

    Raises:
        LensError: there is none, or it is damaged or of an unknown form.
    """
    place = Path(path).expanduser()
    card, translators = read_any(place)
    return FittedLens(card.spec(shown_lens(card.method, place)), translators, card)


def read_any(place: Path) -> tuple[LensCard, Translators]:
    """Return card and translators of the lens in a folder or file, whoever wrote it. Raises LensError."""
    if is_lens_folder(place):
        return read_lens(place)
    if is_tuned_lens_folder(place):
        return read_tuned(place)
    if place.is_file():
        return read_jacobian(place)
    raise LensError(
        f"There is no lens at {harmless(str(place))}: expected a folder with lens.json in it, as `layerwise lens fit` "
        "writes it, a folder of tuned-lens (config.json, params.pt), or a Jacobian lens's file. Check the path."
    )
