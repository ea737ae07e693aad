"""A study as data: which questions are put to which models, and how they are read."""

import hashlib
import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from layerwise.errors import StudyError
from layerwise.tracing.request import Request

_Text = Annotated[str, Field(min_length=1)]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Question(_Strict):
    """One prompt with what is asked of it."""

    id: _Name
    role: Literal["main", "probe"] = "main"
    """*main* questions are shown layer by layer, *probes* by their milestones and output."""
    prompt: _Text
    answers: list[_Text] = []
    """Acceptable answers, the main one first, usually with a leading space."""
    alternatives: list[_Text] = []
    """Wrong answers of the same type."""
    track: list[_Text] = []
    """Texts of single tokens to follow."""

    def request(self, study: "Study") -> Request:
        """Return what to trace for this question."""
        return Request(
            self.prompt,
            answers=tuple(self.answers),
            alternatives=tuple(self.alternatives),
            track=tuple(self.track),
            top_k=study.top_k,
            temperatures=tuple(study.temperatures),
        )


class Study(_Strict):
    """A study file, checked."""

    name: _Name
    title: _Text
    description: str = ""
    models: Annotated[list[_Text], Field(min_length=1)]
    lenses: Annotated[list[Literal["logit", "raw"]], Field(min_length=1)] = ["logit"]
    top_k: Annotated[int, Field(ge=1, le=1000)] = 5
    temperatures: list[Annotated[float, Field(gt=0, allow_inf_nan=False, strict=False)]] = []
    questions: Annotated[list[Question], Field(min_length=1)]

    @model_validator(mode="after")
    def _names_are_distinct(self) -> "Study":
        for what, names in (
            ("models", self.models),
            ("lenses", self.lenses),
            ("questions", [question.id for question in self.questions]),
        ):
            repeated = sorted(name for name, count in Counter(names).items() if count > 1)
            if repeated:
                raise ValueError(f"{what}: {', '.join(repeated)} stands there more than once")
        return self

    @property
    def sum(self) -> str:
        """SHA-256 of everything that the study asks for."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()


def read_study(path: Path) -> Study:
    """Return the study that a TOML file describes.

    Raises:
        StudyError: the file cannot be read, is not TOML, or has an unknown key, a wrong type or a
            missing field; the message gives the key's path and what was expected.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"The study {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise StudyError(f"{path} is not TOML in UTF-8: {error}.") from error
    return check_study(data, str(path))


def check_study(data: dict[str, Any], where: str) -> Study:
    """Return a study from plain values. Raises StudyError, naming `where` and the key's path."""
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        problems = "\n".join(f"  {_key(e['loc'])}: {_expectation(e)}" for e in error.errors())
        raise StudyError(f"{where} is no study that can be run:\n{problems}\nNothing was run.") from error


def _key(location: tuple[int | str, ...]) -> str:
    """Return a location as it reads in TOML: ``questions[2].prompt``."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.lstrip(".") or "study"


def _expectation(error: Any) -> str:
    kind, got = error["type"], error.get("input")
    if kind == "missing":
        return "is missing, and there is no default"
    if kind == "extra_forbidden":
        return "is no key of a study; is it a misspelling?"
    if kind == "value_error":
        return str(error["ctx"]["error"])
    shown = repr(got) if len(repr(got)) <= 60 else repr(got)[:60] + "…"
    return f"{error['msg'][0].lower()}{error['msg'][1:]}; found {shown} ({type(got).__name__})"
