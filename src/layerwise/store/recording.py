"""Running a study: its missing shards computed, each stored as soon as it is done."""

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from layerwise.errors import LayerwiseError, PromptError, StoreError
from layerwise.files import held_alone
from layerwise.lens_spec import LensSpec
from layerwise.questions.question import Question
from layerwise.questions.sets import QuestionSet
from layerwise.readout.lenses import resolve_lens
from layerwise.store.run import (
    SCHEMA_VERSION,
    Run,
    open_run,
    scratch_folders,
    shard_file,
    stored_keys,
    write_manifest,
    write_shard,
)
from layerwise.store.tables import question_row, refused_row
from layerwise.studies.study import PlannedStudy
from layerwise.tracing.model import Model
from layerwise.tracing.tracer import package_versions
from layerwise.types import ModelInfo

_QUESTIONS_PER_SHARD = 256
_BETWEEN_TRIES_SECONDS = 0.5
_WAITING = "waiting for another process that is writing this run"

OnProgress = Callable[[str, int, int], None]
"""Called with (what is being done, questions done, questions in all), over all models."""


@dataclass(frozen=True)
class _Group:
    """Questions that go through a model together; every lens reads the same states."""

    questions: tuple[Question, ...]

    def key(self, planned: PlannedStudy, model: ModelInfo, lens: LensSpec) -> str:
        """Return the hash of all that determines this group's numbers for one model and lens."""
        determined_by = {
            "schema": SCHEMA_VERSION,
            "model": {k: v for k, v in asdict(model).items() if k not in ("source", "location", "revision")},
            "lens": lens.key,
            "top_k": planned.study.top_k,
            "temperatures": planned.study.temperatures,
            "questions": [asdict(question) for question in self.questions],
            "versions": package_versions(),
        }
        return hashlib.sha256(json.dumps(determined_by, sort_keys=True).encode()).hexdigest()[:24]


def record(
    planned: PlannedStudy,
    folder: Path,
    *,
    load: Callable[[str], Model],
    resume: bool = False,
    on_progress: OnProgress = lambda what, done, total: None,
) -> Run:
    """Run a study into a folder and return the stored run.

    Each shard is written whole when it is done, and the manifest after it: an interruption leaves
    a run that says it is incomplete and that `resume` completes. A model that fails is noted in the
    manifest, and the others go on; then the run stays incomplete. Processes that resume one run do so
    one after another, so that each shard is computed once; when one is killed, the next goes on.

    Args:
        planned: what to run.
        folder: where the run is stored.
        load: gives the model for one of the study's names.
        resume: go on with what is in the folder, computing only what is missing.
        on_progress: told what is being done.

    Raises:
        StoreError: the folder holds another run, another process writes it, or it cannot be written to.
    """
    with _alone_in(folder, resume, lambda: on_progress(_WAITING, 0, len(planned.questions))):
        _Recorder(planned, folder, _earlier_run(planned, folder, resume), on_progress).record(load)
        return open_run(folder)


@contextlib.contextmanager
def _alone_in(folder: Path, resume: bool, on_waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a run's folder. Where another process does: wait for its end to go on from there, if that is asked for."""

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
        yield


class _Recorder:
    """A run under way."""

    def __init__(self, planned: PlannedStudy, folder: Path, earlier: Run | None, on_progress: OnProgress) -> None:
        self._planned, self._folder, self._on_progress = planned, folder, on_progress
        self._lenses = [resolve_lens(lens) for lens in planned.study.lenses]
        self._models: dict[str, Any] = dict(earlier.manifest["models"]) if earlier else {}
        self._failures: dict[str, str] = {}
        self._stored = earlier.whole_shards() if earlier else {}
        """The shards that are there, by key; until the run is complete also those of models that are yet to come."""
        self._needed: list[str] = []
        self._created = earlier.manifest["created"] if earlier else _now()
        self._done = 0
        if earlier is None:  # an earlier run's manifest stays true until something new is stored
            self._write("incomplete")

    def record(self, load: Callable[[str], Model]) -> None:
        names, groups = self._planned.study.models, list(_groups(self._planned.questions))
        for index, name in enumerate(names):
            self._done = index * len(self._planned.questions)
            try:
                self._tell(f"loading {name}")
                model = load(name)
                self._models[name] = asdict(model.identified())
                self._compare_precision(model)
                for group in groups:
                    self._tell(f"reading {name}")
                    self._needed += self._record_group(model, group)
                    self._done += len(group.questions)
                    self._tell(f"reading {name}")
            except StoreError:
                raise
            except LayerwiseError as error:
                self._failures[name] = f"{type(error).__name__}: {error}"
        if not self._failures:
            self._models = {name: self._models[name] for name in names}
            self._stored = {key: self._stored[key] for key in self._needed}
        self._write("incomplete" if self._failures else "complete")
        if not self._failures:
            self._remove_unlisted()

    def _record_group(self, model: Model, group: _Group) -> list[str]:
        """Compute and store what is missing of a group; return the keys of its shards, now all stored."""
        planned, name = self._planned, model.info.name
        lenses = self._lenses
        keys = {lens.spec.name: group.key(planned, model.info, lens.spec) for lens in lenses}
        missing = [lens for lens, key in keys.items() if key not in self._stored]
        if missing:
            refusals = {question.id: self._refusal(model, question) for question in group.questions}
            asked = [question for question in group.questions if refusals[question.id] is None]
            requests = [planned.request(question) for question in asked]
            # Always all lenses: which rows are read together changes the last digit.
            traces = model.trace_all(requests, lenses=lenses, check_length_groups=True) if requests else []
            by_id = dict(zip((question.id for question in asked), traces, strict=True))
            for lens in missing:
                rows = [
                    question_row(by_id[question.id][planned.study.lenses.index(lens)], question)
                    if question.id in by_id
                    else refused_row(question, name, lens, str(refusals[question.id]))
                    for question in group.questions
                ]
                self._store(keys[lens], name, lens, group, rows)
        return list(keys.values())

    def _compare_precision(self, model: Model) -> None:
        """Do so on the study's first question, whichever shards are missing."""
        requests = (self._planned.request(question) for question in self._planned.questions)
        first = next((request for request in requests if model.refusal(request) is None), None)
        if first:
            model.compare_precision(first)

    def _refusal(self, model: Model, question: Question) -> str | None:
        """Return why a model cannot be asked a set's question; one of the study's own has to be mended."""
        reason = model.refusal(self._planned.request(question))
        if reason and not question.set:
            raise PromptError(f"Question {question.id!r}: {reason}")
        return reason

    def _store(self, key: str, model: str, lens: str, group: _Group, rows: list[dict[str, Any]]) -> None:
        with _storage_errors(self._folder):
            sha256 = write_shard(self._folder, key, rows)
        questions = [question.id for question in group.questions]
        self._stored[key] = {"key": key, "model": model, "lens": lens, "questions": questions, "sha256": sha256}
        self._write("incomplete")

    def _remove_unlisted(self) -> None:
        """Remove shards that a complete run's manifest does not list: of other versions, or never noted as whole."""
        with _storage_errors(self._folder):
            for key in stored_keys(self._folder) - self._stored.keys():
                shard_file(self._folder, key).unlink()

    def _write(self, status: str) -> None:
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
            "failures": self._failures,
            "versions": package_versions(),
            "shards": list(self._stored.values()),
        }
        with _storage_errors(self._folder):
            write_manifest(self._folder, manifest)

    def _tell(self, what: str) -> None:
        self._on_progress(what, self._done, len(self._planned.questions) * len(self._planned.study.models))


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


def _groups(questions: tuple[Question, ...]) -> Iterator[_Group]:
    for start in range(0, len(questions), _QUESTIONS_PER_SHARD):
        yield _Group(questions[start : start + _QUESTIONS_PER_SHARD])


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
