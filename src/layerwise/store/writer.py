"""Writing a run: nothing else touches a run's shards and manifest while its study is carried out."""

import contextlib
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerwise.errors import StoreError
from layerwise.files import held_alone
from layerwise.questions.sets import QuestionSet
from layerwise.store.run import Run, open_run, scratch_folders, shard_file, stored_keys, write_manifest, write_shard
from layerwise.studies.study import PlannedStudy
from layerwise.types import ModelInfo
from layerwise.versions import package_versions

if TYPE_CHECKING:
    import pyarrow as pa

_BETWEEN_TRIES_SECONDS = 0.5


class RunWriter:
    """A run that is being written."""

    def __init__(self, planned: PlannedStudy, folder: Path, earlier: Run | None) -> None:
        """Go on with an earlier run of the folder, or begin one there."""
        self._planned, self._folder = planned, folder
        self._models: dict[str, Any] = dict(earlier.manifest["models"]) if earlier else {}
        self._stored = earlier.whole_shards() if earlier else {}
        """The shards that are there, by key; until the run is complete also those of models that are yet to come."""
        self._created = earlier.manifest["created"] if earlier else _now()
        if earlier is None:  # an earlier run's manifest stays true until something new is stored
            self._write("incomplete")

    @property
    def stored(self) -> Collection[str]:
        """Keys of the shards that are there and whole."""
        return self._stored.keys()

    def describe(self, name: str, model: ModelInfo) -> None:
        """Note what a model of the study was; the next writing of the manifest holds it."""
        self._models[name] = asdict(model)

    def store(
        self,
        key: str,
        table: "pa.Table",
        *,
        model: str,
        lens: str,
        questions: Sequence[str],
        lens_sum: str | None = None,
    ) -> None:
        """Write a shard, and then the manifest that lists it. Raises StoreError where the disk refuses."""
        with _storage_errors(self._folder):
            sha256 = write_shard(self._folder, key, table)
        shard = {"key": key, "model": model, "lens": lens, "questions": [*questions], "sha256": sha256}
        self._stored[key] = shard if lens_sum is None else shard | {"lens_sum": lens_sum}
        self._write("incomplete")

    def finish(self, keys: Sequence[str], failures: Mapping[str, str]) -> None:
        """Write the last manifest.

        Args:
            keys: of all shards that the study asks for, in its order, as far as they were computed.
            failures: why models could not be read to the end, by name. With any, the run stays incomplete.
        """
        if failures:
            self._write("incomplete", failures)
            return
        self._models = {name: self._models[name] for name in self._planned.study.models}
        self._stored = {key: self._stored[key] for key in keys}
        self._write("complete")
        self._remove_unlisted()

    def _remove_unlisted(self) -> None:
        """Remove shards that a complete run's manifest does not list: of other versions, or never noted as whole."""
        with _storage_errors(self._folder):
            for key in stored_keys(self._folder) - self._stored.keys():
                shard_file(self._folder, key).unlink()

    def _write(self, status: str, failures: Mapping[str, str] | None = None) -> None:
        planned = self._planned
        manifest = {
            "status": status,
            "created": self._created,
            "updated": _now(),
            "study": planned.study.model_dump(),
            "study_sum": planned.sum,
            "sets": {name: _described(chosen) for name, chosen in planned.sets.items()},
            "questions": len(planned.questions),
            "claims": [claim.model_dump() for claim in planned.claims],
            "models": self._models,
            "failures": dict(failures or {}),
            "versions": package_versions(),
            "shards": list(self._stored.values()),
        }
        with _storage_errors(self._folder):
            write_manifest(self._folder, manifest)


@contextlib.contextmanager
def writing(
    planned: PlannedStudy, folder: Path, *, resume: bool, on_waiting: Callable[[], None]
) -> Iterator[RunWriter]:
    """Yield what writes a study's run into a folder, which no other process can write to meanwhile.

    Args:
        planned: the study.
        folder: where the run is or will be stored.
        resume: go on with the run in the folder; where another process is writing it, wait for its end.
        on_waiting: called from time to time while that lasts.

    Raises:
        StoreError: the folder holds another run, another process writes it, or it cannot be written to.
    """

    def wait() -> None:
        if not resume:
            raise StoreError(
                f"Another process is writing a run to {folder}. Give another folder with --out; or --resume, which "
                "waits for that process and then computes only what is still missing."
            )
        on_waiting()
        time.sleep(_BETWEEN_TRIES_SECONDS)

    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file, and a run is a folder. Give another name with --out.")
    with _storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with held_alone(folder, wait):
        yield RunWriter(planned, folder, _earlier_run(planned, folder, resume))


def _described(chosen: QuestionSet) -> dict[str, Any]:
    names = ("name", "version", "title", "description", "source", "sum")
    return {name: getattr(chosen, name) for name in names}


def _earlier_run(planned: PlannedStudy, folder: Path, resume: bool) -> Run | None:
    """Return the run that the folder holds and that is to be completed, or None for an empty folder."""
    scratch = scratch_folders(folder)
    if not (folder / "manifest.json").exists():
        if set(folder.iterdir()) - set(scratch):
            raise StoreError(f"{folder} is not empty and holds no run. Give another folder with --out.")
        _remove(scratch)
        return None
    earlier = open_run(folder)
    if earlier.manifest["study_sum"] != planned.sum:
        raise StoreError(
            f"{folder} holds a run of another study, or of this one before it was changed. Its results would be "
            "lost or mixed with the new ones. Give another folder with --out, or delete that one."
        )
    if not resume:
        raise StoreError(
            f"{folder} holds {'a complete' if earlier.complete else 'an incomplete'} run of this study already. "
            "Go on with it (--resume computes only what is missing), or give another folder with --out."
        )
    _remove(scratch)
    return earlier


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        with _storage_errors(folder):
            shutil.rmtree(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextlib.contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    """Say which folder could not be written to, and why."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"The run could not be written to {folder}: {error.strerror or error}. What was stored before is whole; "
            "make room or permissions, or choose another folder with --out."
        ) from error
