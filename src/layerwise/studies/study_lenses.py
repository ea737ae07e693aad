"""A study's lenses: which files are meant, and that they are there and whole before anything is run."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from layerwise.errors import LensError, PromptError, StudyError
from layerwise.lenses.card import expect_every_layer
from layerwise.lenses.finding import FoundLens, find_lens
from layerwise.lenses.names import expect_told_apart, lens_name


@dataclass(frozen=True)
class StudyLenses:
    """Where a study's lenses lie. Runs are stored with the names that are shown, without folders."""

    shown: list[str] = field(default_factory=list)
    """What they are called in the run, in the study's order."""
    asked: dict[str, str] = field(default_factory=dict)
    """By that name, what those are opened by that lie in a place of their own."""
    sums: dict[str, str] = field(default_factory=dict)
    """By that name, what tells their numbers from any other's. A model's own lens is another for every model."""


def study_lenses(names: Sequence[str], models: Sequence[str], folder: Path, where: str) -> StudyLenses:
    """Return a study's lenses, each of them found and its card read; no model and no PyTorch is needed.

    Args:
        names: as they stand in the study.
        models: that they are to read.
        folder: what paths are relative to: the study file's.
        where: the file, for messages.

    Raises:
        StudyError: there is no such lens, it is damaged or of another kind, or it lacks layers.
    """
    found = StudyLenses()
    try:
        for text in names:
            name = lens_name(text)
            found.shown.append(name.shown)
            if not name.is_fitted:
                continue
            if name.place is None:
                for model in models:
                    _expect_whole(find_lens(name, model, folder))
                continue
            lens = find_lens(name, "", folder)
            _expect_whole(lens)
            place = lens.place if isinstance(lens.place, Path) else name.place
            expect_told_apart([*found.sums.items(), (name.shown, lens.sum)])
            found.asked[name.shown], found.sums[name.shown] = f"{name.kind}:{place}", lens.sum
    except (LensError, PromptError) as error:
        raise StudyError(f"{where}: lenses: {error} Nothing was run.") from error
    if len(set(found.shown)) < len(found.shown):
        raise StudyError(f"{where}: lenses: two names stand for the same lens. Leave one of them out.")
    return found


def _expect_whole(lens: FoundLens) -> None:
    """Stop at a lens of ours that lacks layers; of a published file that is seen when it is opened."""
    card = lens.card
    if card and card.n_layers:
        expect_every_layer(card, lens.name.shown, card.n_layers)
