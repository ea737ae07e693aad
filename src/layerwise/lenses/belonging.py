"""Whether a lens is a model's: what is compared, and what can only be said."""

from layerwise.errors import LensError
from layerwise.lenses.card import LensCard, layers_named
from layerwise.lenses.unembedding import unembedding_sum
from layerwise.models.loading.loaded import LoadedModel
from layerwise.text import one_line
from layerwise.types import shown_name


def expect_fitted_for(card: LensCard, shown: str, model: LoadedModel) -> tuple[str, ...]:
    """Return what has to be said of a lens beside what it reads of a model.

    Args:
        card: the lens's.
        shown: what it is called.
        model: the model that is to be read through it.

    Raises:
        LensError: it was fitted for a model of other shape, or with another unembedding.
    """
    _expect_shape(card, shown, model)
    _expect_unembedding(card, shown, model)
    return (*_of_weights(card, shown, model), *_of_layers(card, shown, model.n_layers))


def _expect_shape(card: LensCard, shown: str, model: LoadedModel) -> None:
    n_layers, d_model = model.n_layers, model.output_head.weight.shape[1]
    deep = card.layers[-1] < n_layers and card.n_layers in (None, n_layers)
    if card.d_model != d_model or not deep:
        blocks = f"{card.n_layers} blocks" if card.n_layers else f"at least {card.layers[-1] + 1} blocks"
        raise LensError(
            f"The {shown} lens was fitted for {_for_model(card)}with {blocks} of width {card.d_model}; "
            f"{one_line(shown_name(model.name), 80)} has {n_layers} of width {d_model}. It is another model's, or "
            "leads to a block before the last; fit one for this model with `layerwise lens fit`."
        )


def _expect_unembedding(card: LensCard, shown: str, model: LoadedModel) -> None:
    if card.unembedding_sum is None:
        return
    found = unembedding_sum(model.output_head)
    if found != card.unembedding_sum:
        raise LensError(
            f"The {shown} lens was fitted for {_for_model(card)}with the unembedding {card.unembedding_sum[:16]}…; "
            f"{one_line(shown_name(model.name), 80)} has {found[:16]}…. What it makes of a state would be read in "
            "another vocabulary's directions, and be wrong without looking so. Fit one for this model with `layerwise "
            "lens fit`, or load the model that it was fitted for."
        )


def _for_model(card: LensCard) -> str:
    return f"{one_line(shown_name(card.model), 80)}, " if card.model else "a model "


def _of_weights(card: LensCard, shown: str, model: LoadedModel) -> list[str]:
    """Say what is not known, or not the same, of the weights that a lens was fitted for."""
    if card.unembedding_sum is None:
        return [
            f"The {shown} lens's file does not say which weights it was fitted for: only width and layers were "
            "compared with this model's."
        ]
    here = model.info.weights_sum
    if None in (card.weights_sum, here) or card.weights_sum == here:
        return []
    return [
        f"The {shown} lens was fitted for weights with the sum {str(card.weights_sum)[:12]}…, and these have "
        f"{str(here)[:12]}…, with the same unembedding: another file of the same model, or one that was trained on."
    ]


def _of_layers(card: LensCard, shown: str, n_layers: int) -> list[str]:
    missing = card.missing(n_layers)
    if not missing:
        return []
    are = "is read as the logit lens reads it" if len(missing) == 1 else "are read as the logit lens reads them"
    return [f"The {shown} lens has no translator for {layers_named(missing)} of {n_layers}, which {are}."]
