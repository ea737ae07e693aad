"""Where the lens lies that is meant by a name: found before a model is loaded, and without PyTorch."""

from dataclasses import dataclass
from pathlib import Path

from layerwise.errors import LensError, OfflineError
from layerwise.lenses.card import LensCard
from layerwise.lenses.folder import is_lens_folder, read_card
from layerwise.lenses.names import LensName, lens_name
from layerwise.lenses.own import own_lens_folder
from layerwise.models.libraries.published_lenses import PublishedLens, published_jacobian_lens
from layerwise.models.machine.cache import remembered_sha256
from layerwise.models.sources.hub import fetch_file
from layerwise.text import harmless, one_line

JACOBIAN = "jacobian"
_NUMBERS = "params.pt"
"""Of a folder that tuned-lens wrote."""


@dataclass(frozen=True)
class FoundLens:
    """A fitted lens that is there, or can be fetched."""

    name: LensName
    place: Path | PublishedLens

    @property
    def card(self) -> LensCard | None:
        """Its card, where that is read without PyTorch. Raises LensError where it is damaged, or of another kind."""
        if not isinstance(self.place, Path) or not is_lens_folder(self.place):
            return None
        card = read_card(self.place)
        expect_kind(card, self)
        return card

    @property
    def sum(self) -> str:
        """What tells its numbers from any other's."""
        if isinstance(self.place, PublishedLens):
            return self.place.address
        card = self.card
        numbers = self.place / _NUMBERS if self.place.is_dir() else self.place
        return card.tensors_sum if card else remembered_sha256(numbers)

    @property
    def shown_place(self) -> str:
        return self.place.address if isinstance(self.place, PublishedLens) else harmless(str(self.place))

    def fetched(self) -> Path:
        """Return where it lies on this machine, after it was brought here if need be.

        Raises:
            OfflineError: the hub cannot be reached; says what to do.
            ModelError: or does not give it.
        """
        if isinstance(self.place, Path):
            return self.place
        try:
            return fetch_file(self.place.repo_id, self.place.filename, self.place.revision)
        except OfflineError as error:
            raise OfflineError(
                f"{error} Or download the lens {self.place.name} elsewhere ({self.place.address}), and give the file's "
                f"path: {JACOBIAN}:PATH."
            ) from error


def find_lens(name: LensName, model_name: str, folder: Path = Path()) -> FoundLens:
    """Return where a fitted lens is to be had; nothing is fetched or opened.

    Args:
        name: what it is asked for by.
        model_name: the model that it is to read, whose own lens is meant where no place is given.
        folder: what a path is relative to.

    Raises:
        LensError: there is none; says what to do.
    """
    if name.place is None:
        own = own_lens_folder(model_name, name.kind)
        if own is None:
            raise LensError(_none_of_its_own(name.kind, model_name))
        return FoundLens(name, own)
    place = (folder / Path(name.place).expanduser()).absolute()
    if place.exists():
        return FoundLens(name, place)
    published = published_jacobian_lens(name.place) if name.kind == JACOBIAN else None
    if published is None:
        listed = ", and no published Jacobian lens of that name (as gemma-2-9b is one)" if name.kind == JACOBIAN else ""
        raise LensError(
            f"There is no file or folder {harmless(one_line(name.place))!r}{listed}. A lens is asked for by "
            f"{name.kind}:PATH; paths are read from {harmless(str(folder.absolute()))}."
        )
    return FoundLens(name, published)


def expect_lens(text: str, model_name: str) -> None:
    """Stop before a model is loaded where a lens that it is to be read through cannot be opened.

    Raises:
        PromptError: there is no such kind of lens.
        LensError: there is no such lens, or it is damaged.
    """
    name = lens_name(text)
    if name.is_fitted:
        _ = find_lens(name, model_name).card


def expect_kind(card: LensCard, found: FoundLens) -> None:
    """Raise LensError where a lens is not of the kind that was asked for."""
    if card.method != found.name.kind:
        raise LensError(
            f"{found.shown_place} holds a {card.method} lens, and a {found.name.kind} lens was asked for. What it "
            f"reads means something else; ask for {card.method}:{harmless(str(found.name.place))}."
        )


def _none_of_its_own(kind: str, model_name: str) -> str:
    asked = harmless(one_line(model_name))
    published = published_jacobian_lens(model_name) if kind == JACOBIAN else None
    known = f", or ask for {kind}:{published.name}, which was published" if published else ""
    return (
        f"There is no {kind} lens of {asked} on this machine. Fit one (layerwise lens fit --model {asked} "
        f"--method {kind} --out DIR) and ask for {kind}:DIR{known}."
    )
