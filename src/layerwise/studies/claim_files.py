"""Claims: sentences with what would make them true, fixed before the data are seen."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from layerwise.errors import StudyError
from layerwise.measures.claims import Region
from layerwise.studies.toml import checked, read_toml

Estimator = Literal[
    "settled_depth",
    "phases",
    "inner_minus_final",
    "direction_difference",
    "norm_matters",
    "late_entropy_change",
    "inner_top_is_output",
]
"""What is estimated; `analysis.estimators` defines each."""

_Text = Annotated[str, Field(min_length=1)]


class Claim(BaseModel):
    """One sentence, an estimator, and the region in which the sentence says that it lies."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
    sentence: _Text
    estimator: Estimator
    region: _Text
    """As in ``0.80 .. 0.85`` or ``> 0``."""
    null: _Text
    """What would be the case if the sentence said nothing: in words, for the reader."""
    widened_by_layers: Annotated[int, Field(ge=0)] = 0
    """How many layers a region of depths is widened by on both sides."""
    over: Literal["known", "all"] = "known"
    """Questions whose answer the model would write by itself, or all."""
    sets: list[_Text] = []
    """Only questions of these sets; all where none is named."""
    directions: list[_Text] = []
    """For `direction_difference`: two, the first minus the second. Otherwise, only questions of these."""
    least_items: Annotated[int, Field(ge=2)] = 10
    """With fewer items nothing is judged."""

    @field_validator("region")
    @classmethod
    def _is_a_region(cls, text: str) -> str:
        try:
            Region.parse(text)
        except StudyError as error:
            raise ValueError(str(error)) from error
        return text


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    claims: Annotated[list[Claim], Field(min_length=1)]


def read_claims(path: Path) -> tuple[Claim, ...]:
    """Return the claims of a TOML file.

    Raises:
        StudyError: it cannot be read, or a claim lacks something; names its key.
    """
    claims = checked(_File, read_toml(path, "claims file"), str(path), "file of claims").claims
    names = [claim.id for claim in claims]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise StudyError(f"{path}: two claims are called {repeated[0]!r}.")
    for claim in claims:
        if claim.estimator == "direction_difference" and len(claim.directions) != 2:
            raise StudyError(f"{path}: the claim {claim.id} compares two directions; it names {len(claim.directions)}.")
    return tuple(claims)
