"""TOML files that people write, read with every complaint naming its key."""

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from layerwise.errors import StudyError

_Model = TypeVar("_Model", bound=BaseModel)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return the content of a TOML file. Raises StudyError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"The {what} {path} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise StudyError(f"{path} is not TOML in UTF-8: {error}.") from error


def checked(kind: type[_Model], data: dict[str, Any], where: str, what: str) -> _Model:
    """Return `data` as a `kind`. Raises StudyError that names every key in question."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problems = "\n".join(f"  {_key(e['loc'])}: {_expectation(e)}" for e in error.errors())
        raise StudyError(f"{where} is no {what}:\n{problems}\nNothing was run.") from error


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
