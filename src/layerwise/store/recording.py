"""Running a study: its missing shards computed, each stored as soon as it is done."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from layerwise.errors import StoreError
from layerwise.store.run import SCHEMA_VERSION, Run, open_run, shard_sums, write_manifest, write_shard
from layerwise.store.tables import layer_rows, question_row
from layerwise.studies.study import Question, Study
from layerwise.tracing.model import Model
from layerwise.tracing.tracer import package_versions
from layerwise.types import ModelInfo

_QUESTIONS_PER_SHARD = 64

OnProgress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


@dataclass(frozen=True)
class _Group:
    """Questions that go through a model together; every lens reads the same states."""

    questions: tuple[Question, ...]

    def key(self, study: Study, model: ModelInfo, lens: str) -> str:
        """Return the hash of all that determines this group's numbers for one model and lens."""
        determined_by = {
            "schema": SCHEMA_VERSION,
            "model": {k: v for k, v in asdict(model).items() if k not in ("source", "location", "revision")},
            "lens": lens,
            "top_k": study.top_k,
            "temperatures": study.temperatures,
            "questions": [question.model_dump() for question in self.questions],
            "versions": package_versions(),
        }
        return hashlib.sha256(json.dumps(determined_by, sort_keys=True).encode()).hexdigest()[:24]


def record(
    study: Study,
    folder: Path,
    *,
    load: Callable[[str], Model],
    resume: bool = False,
    on_progress: OnProgress = lambda what, done, total: None,
) -> Run:
    """Run a study into a folder and return the stored run.

    Each shard is written whole when it is done, and the manifest after it: an interruption leaves
    a run that says it is incomplete and that `resume` completes.

    Args:
        study: what to run.
        folder: where the run is stored.
        load: gives the model for one of the study's names.
        resume: go on with what is in the folder, computing only what is missing.
        on_progress: told what is being done.

    Raises:
        StoreError: the folder holds another run, or cannot be written to.
        ModelError, PromptError, CheckError: the study could not be run to its end.
    """
    earlier = _earlier_run(study, folder, resume)
    manifest = _manifest(study, earlier)
    stored = earlier.whole_shards() if earlier else {}
    if earlier is None:  # an earlier run's manifest stays true until something new is stored
        _write(folder, manifest | {"shards": []})
    groups = list(_groups(study))
    steps, done, needed = len(study.models) * len(groups), 0, []
    for name in study.models:
        on_progress(f"loading {name}", done, steps)
        model = load(name)
        manifest["models"][name] = asdict(model.identified())
        for group in groups:
            on_progress(f"reading {name}", done, steps)
            needed += _record_group(study, folder, model, group, manifest, stored)
            done += 1
            on_progress(f"reading {name}", done, steps)
    models = {name: manifest["models"][name] for name in study.models}
    final = {"status": "complete", "models": models, "shards": [stored[key] for key in needed]}
    _write(folder, manifest | final)
    return open_run(folder)


def _earlier_run(study: Study, folder: Path, resume: bool) -> Run | None:
    """Return the run that the folder holds and that is to be completed, or None for an empty folder."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"{folder} is a file, and a run is a folder. Give another name with --out.")
    if not (folder / "manifest.json").exists():
        if folder.exists() and any(folder.iterdir()):
            raise StoreError(f"{folder} is not empty and holds no run. Give another folder with --out.")
        return None
    earlier = open_run(folder)
    if earlier.manifest["study_sum"] != study.sum:
        raise StoreError(
            f"{folder} holds a run of another study, or of this one before it was changed. Its results would be "
            "lost or mixed with the new ones. Give another folder with --out, or delete that one."
        )
    if not resume:
        raise StoreError(
            f"{folder} holds {'a complete' if earlier.complete else 'an incomplete'} run of this study already. "
            "Go on with it (--resume computes only what is missing), or give another folder with --out."
        )
    return earlier


def _manifest(study: Study, earlier: Run | None) -> dict[str, Any]:
    """Return the manifest of a run that is under way; the shards are added as they are stored."""
    return {
        "status": "incomplete",
        "created": earlier.manifest.get("created", _now()) if earlier else _now(),
        "study": study.model_dump(),
        "study_sum": study.sum,
        "models": dict(earlier.manifest["models"]) if earlier else {},
        "versions": package_versions(),
    }


def _record_group(
    study: Study,
    folder: Path,
    model: Model,
    group: _Group,
    manifest: dict[str, Any],
    stored: dict[str, dict[str, Any]],
) -> list[str]:
    """Compute and store what is missing of a group; return the keys of its shards, now all in `stored`.

    The manifest follows each shard. Until the run is complete it also keeps what an earlier attempt
    stored for models that are yet to come.
    """
    keys = {lens: group.key(study, model.info, lens) for lens in study.lenses}
    missing = [lens for lens in study.lenses if keys[lens] not in stored]
    if missing:
        requests = [question.request(study) for question in group.questions]
        traces = model.trace_all(requests, lenses=missing, check_each_length=True)
        for place, lens in enumerate(missing):
            read = [(by_lens[place], question) for by_lens, question in zip(traces, group.questions, strict=True)]
            rows = {
                "questions": [question_row(trace, q.id, q.role) for trace, q in read],
                "layers": [row for trace, q in read for row in layer_rows(trace, q.id)],
            }
            with _storage_errors(folder):
                write_shard(folder, keys[lens], rows)
            stored[keys[lens]] = {
                "key": keys[lens],
                "model": model.info.name,
                "lens": lens,
                "questions": [question.id for question in group.questions],
                "files": shard_sums(folder, keys[lens]),
            }
            _write(folder, manifest | {"shards": list(stored.values())})
    return list(keys.values())


def _groups(study: Study) -> Iterator[_Group]:
    questions: Sequence[Question] = study.questions
    for start in range(0, len(questions), _QUESTIONS_PER_SHARD):
        yield _Group(tuple(questions[start : start + _QUESTIONS_PER_SHARD]))


def _write(folder: Path, manifest: dict[str, Any]) -> None:
    with _storage_errors(folder):
        write_manifest(folder, manifest | {"updated": _now()})


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
