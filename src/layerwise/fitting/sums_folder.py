"""What a fit has so far, on disk: a checkpoint to go on from, or a shard to be merged with others.

FOLDER/fit.json              what is fitted on what, and how far it came
FOLDER/first.safetensors     of a fit by sums: those of the first half
FOLDER/second.safetensors    and of the second
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from layerwise.errors import LensError, StoreError
from layerwise.files import sha256_of, written_whole
from layerwise.fitting.estimator import Estimator
from layerwise.fitting.sums import Sums
from layerwise.models.weights.safetensors_writer import layout_of, write_safetensors
from layerwise.text import harmless, one_line

_SCHEMA = 1
_STATE = "fit.json"
_HALVES = ("first.safetensors", "second.safetensors")


@dataclass(frozen=True)
class Progressed:
    """How far a fit came, and what it is."""

    key: Mapping[str, Any]
    """All that determines its numbers: method and settings, model, text. Sums with another key are not added up."""
    batch: int
    """Windows that are run together. Another number gives other round-off."""
    done: tuple[int, ...]
    """Windows of each half that are in the sums; or steps that were taken."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What whoever goes on with it needs beside."""


def save_sums(folder: Path, state: Progressed, halves: Sequence[Estimator]) -> None:
    """Write both halves' sums to a folder, whole or not at all. Raises StoreError if they cannot be written."""
    save_tensors(folder, state, {name: half.sums for name, half in zip(_HALVES, halves, strict=True)})


def save_tensors(folder: Path, state: Progressed, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write how far a fit came, and files of tensors by name, to a folder: whole or not at all.

    Raises:
        StoreError: they cannot be written.
    """
    try:
        with written_whole(folder) as scratch:
            scratch.mkdir()
            files = {}
            for name, held in tensors.items():
                with (scratch / name).open("wb") as opened:
                    layout = held.layout if isinstance(held, Sums) else layout_of(held)
                    write_safetensors(opened, layout, held.values())
                files[name] = sha256_of(scratch / name)
            told = {"schema": _SCHEMA, **vars(state), "files": files}
            (scratch / _STATE).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"What the fit has so far could not be written to {harmless(str(folder))}: {error.strerror or error}. What "
            "was there before is as it was; make room or permissions, and run the same command again."
        ) from error


def read_state(folder: Path) -> Progressed:
    """Return how far the fit came whose sums are in a folder.

    Raises:
        LensError: there are none, or they are damaged.
    """
    try:
        told = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        if told["schema"] != _SCHEMA:
            raise LensError(
                f"{_shown(folder)} is of schema {one_line(repr(told['schema']), 40)}, and this version of layerwise "
                f"reads schema {_SCHEMA}. Delete the folder, and fit again."
            )
        for name, known in dict(told["files"]).items():
            if Path(name).name != name or sha256_of(folder / name) != known:
                raise LensError(f"{_shown(folder / name)} was changed or cut short. {_AGAIN}")
        done = tuple(int(number) for number in told["done"])
        return Progressed(dict(told["key"]), int(told["batch"]), done, dict(told["more"]))
    except OSError as error:
        raise LensError(f"{_shown(folder)} holds no sums of a fit: {error.strerror or error}.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise LensError(f"{_shown(folder / _STATE)} is damaged ({type(error).__name__}). {_AGAIN}") from error


def read_sums(folder: Path) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
    """Return the sums of both halves, of a folder whose state was read."""
    first, second = read_tensors(folder, _HALVES)
    return first, second


def read_tensors(folder: Path, names: Sequence[str]) -> list[Mapping[str, Tensor]]:
    """Return files of tensors, of a folder whose state was read. Each tensor is read when it is asked for.

    Raises:
        LensError: one is missing or damaged.
    """
    return [_TensorsOnDisk(folder / name) for name in names]


class _TensorsOnDisk(Mapping[str, Tensor]):
    """The tensors of a safetensors file, of which none is in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._opened() as opened:
            self._names = tuple(opened.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise LensError(f"{_shown(self._path)} has no sums {one_line(repr(name), 60)}. {_AGAIN}")
        with self._opened() as opened:
            return opened.get_tensor(name).clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(self._path, "pt") as opened:
                yield opened
        except (OSError, SafetensorError) as error:
            raise LensError(f"{_shown(self._path)} is damaged: {error}. {_AGAIN}") from error


def expect_same_fit(folder: Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raise LensError where sums are of another fit, with what differs."""
    unlike = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
    if unlike:
        said = "; ".join(
            f"{name}: {one_line(repr(found.get(name)), 80)} there, {one_line(repr(expected.get(name)), 80)} here"
            for name in unlike
        )
        raise LensError(
            f"{_shown(folder)} holds the sums of another fit ({said}). They cannot be added up with this one's. Go on "
            "with the settings it was begun with, choose another --out, or delete that folder."
        )


_AGAIN = "Delete the folder, and fit again."


def _shown(path: Path) -> str:
    return harmless(str(path))
