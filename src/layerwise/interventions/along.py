"""Edits along directions: those that tokens have under a lens, differences between prompts, or given numbers."""

import base64
import binascii
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from layerwise.errors import EditError
from layerwise.interventions.specs import EditSpec
from layerwise.lens_spec import LOGIT


@dataclass(frozen=True)
class Along(EditSpec):
    """An edit along vectors: those with which a lens reads tokens, or given ones."""

    token: tuple[str, ...] = ()
    """Texts of single tokens. A token's vector is the one whose product with a state is the token's logit, up to what
    the final norm divides all by: W_U's row times the norm's gain, through the lens's matrix."""
    lens: str = LOGIT.name
    """The lens that reads them."""
    sum: str = ""
    """Of a fitted lens's numbers the beginning of the SHA-256. Where it is given, no other lens is taken for it."""
    vector: tuple[str, ...] = ()
    """Numbers, in float32 and base64 (`vector_text`)."""

    def __post_init__(self) -> None:
        for name in (field.name for field in dataclasses.fields(self) if field.default == ()):
            given = getattr(self, name)
            if isinstance(given, str):
                object.__setattr__(self, name, (given,))
            elif hasattr(given, "dtype"):
                object.__setattr__(self, name, tuple(map(vector_text, np.atleast_2d(np.asarray(given)))))
        super().__post_init__()
        self._expect_directions()
        for each in self.vector:
            numbers_of(each)

    @property
    def _ways(self) -> list[str]:
        """Ways in which directions are given."""
        return [name for name in ("token", "vector") if getattr(self, name)]

    def _expect_directions(self) -> None:
        if len(self._ways) != 1:
            raise EditError(
                f"{self.operation} {self.site} goes along a direction, which is given in one way; got "
                f"{' and '.join(self._ways) or 'none'}. Give token=' Paris', or numbers with vector=…"
                + (", or toward='a prompt' and away='another'." if hasattr(self, "toward") else ".")
            )


@dataclass(frozen=True)
class AlongMeans(Along):
    """An edit along vectors, or along the difference of two sets' means."""

    toward: tuple[str, ...] = ()
    """Prompts; the direction goes from the mean of `away` to theirs (difference of means)."""
    away: tuple[str, ...] = ()
    """The other prompts."""
    at: str = "last"
    """The positions of both that means are taken over."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.toward) != bool(self.away):
            given, missing = ("toward", "away") if self.toward else ("away", "toward")
            raise EditError(
                f"{self.operation} {self.site} has prompts {given}=…, and none {missing}=… to set off from."
            )

    @property
    def _ways(self) -> list[str]:
        return [*super()._ways, *(["toward"] if self.toward or self.away else [])]


@dataclass(frozen=True)
class Add(AlongMeans):
    """A vector added (steering; Turner et al. 2023, arXiv:2308.10248).

    Its placebo is a random vector as long, the same at every position.
    """

    operation = "add"

    strength: float = 1.0
    """How often it is added. A token's vector has no length that means anything: it is made as long as the values that
    it is added to, at each position."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.token) > 1 or len(self.vector) > 1:
            raise EditError(f"add {self.site} adds one vector; got {len(self.token) or len(self.vector)}. Add twice.")


@dataclass(frozen=True)
class ProjectOut(AlongMeans):
    """The values without all that lies in the space of some directions (directional ablation)."""

    operation = "project-out"


@dataclass(frozen=True)
class Exchange(Along):
    """The values with the lens's readings of two tokens exchanged, and as little else changed as can be.

    After Gurnee et al. (2026), who exchange coefficients; where vectors are equally long, the two are the same.
    """

    operation = "exchange"

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.token or self.vector) != 2:
            raise EditError(
                f"exchange {self.site} is between two; got {len(self.token or self.vector)}. Give token=… twice."
            )


def vector_text(vector: Any) -> str:
    """Return how an edit's text has a vector: float32, little-endian, in base64."""
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode()


def numbers_of(text: str) -> Float[np.ndarray, " d_model"]:
    """Return the vector that `vector_text` wrote. Raises EditError if it did not, or numbers are not finite."""
    try:
        found = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4")
    except (binascii.Error, ValueError) as error:
        raise EditError(
            f"vector=… is no vector: expected float32 numbers in base64, as layerwise writes them ({error})."
        ) from error
    if not len(found) or not np.isfinite(found).all():
        raise EditError("vector=… holds no number, or NaN or infinite ones.")
    return found.astype(np.float32)
