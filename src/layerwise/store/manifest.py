"""What a run's manifest holds: everything that reads one takes these parts for granted.

What a study file may leave out, a manifest may too, and stands there as in a study that leaves it out.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from layerwise.errors import StoreError
from layerwise.lens_spec import LOGIT
from layerwise.text import first_fault
from layerwise.types import ModelInfo

_LensName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]*(:[\w.-]+)?$", max_length=80)]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Question(_Part):
    id: str
    role: Literal["main", "probe"] = "main"
    prompt: str
    answers: list[str] = []
    alternatives: list[str] = []
    track: list[str] = []


class _SetChoice(_Part):
    name: str


class _Study(_Part):
    name: str
    title: str
    description: str = ""
    models: Annotated[list[str], Field(min_length=1)]
    lenses: Annotated[list[_LensName], Field(min_length=1)] = [LOGIT.name]
    temperatures: list[Annotated[float, Field(gt=0)]] = []
    sets: list[_SetChoice] = []
    questions: list[_Question] = []


class _Set(_Part):
    name: str
    version: int
    title: str
    description: str
    source: str
    sum: str


class _Shard(_Part):
    key: Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")]
    model: str
    lens: str
    questions: list[str]
    sha256: str


class _Manifest(_Part):
    status: Literal["complete", "incomplete"]
    created: str
    updated: str
    study: _Study
    study_sum: str
    sets: dict[str, _Set] = {}
    questions: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    claims: list[dict[str, Any]]
    models: dict[str, ModelInfo]
    failures: dict[str, str]
    versions: dict[str, str]
    shards: list[_Shard]

    @model_validator(mode="after")
    def _fits_together(self) -> "_Manifest":
        keys = Counter(shard.key for shard in self.shards)
        if repeated := [key for key, count in keys.items() if count > 1]:
            raise ValueError(f"shards: {repeated[0]} stands there more than once, so its rows would count as often")
        if unlike := {choice.name for choice in self.study.sets} ^ self.sets.keys():
            raise ValueError(f"sets: {sorted(unlike)[0]!r} is described but not asked in the study, or the reverse")
        if unknown := next((shard for shard in self.shards if not self._describes(shard.model)), None):
            raise ValueError(f"models: {unknown.model!r} is not described, and shard {unknown.key} is of that model")
        return self

    def _describes(self, model: str) -> bool:
        """Return whether it is said what a shard's model was.

        Models stand there as the study calls them. A program that gives `record` its own `load` may call them
        otherwise: then the shards have the names that the models themselves go by.
        """
        if model in self.study.models:
            return model in self.models
        return model in self.models or any(info.name == model for info in self.models.values())


def checked_manifest(manifest: dict[str, Any], file: Path) -> dict[str, Any]:
    """Return a manifest with every part that may be left out. Raises StoreError that names what is wrong in `file`."""
    try:
        return _Manifest.model_validate_json(json.dumps(manifest)).model_dump()
    except ValidationError as error:
        raise StoreError(
            f"{file} lacks parts of a manifest, or they are of another form: {first_fault(error)}. Run the study again."
        ) from error
