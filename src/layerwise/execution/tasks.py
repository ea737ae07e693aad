"""A study in tasks: what goes through a model together, and what comes of it.

Tasks and outcomes hold plain values, so that they can be sent to another process and back.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from layerwise.lens_spec import LensSpec
from layerwise.models.sources.spec import ModelSpec
from layerwise.questions.question import Question
from layerwise.store.run import SCHEMA_VERSION
from layerwise.studies.study import PlannedStudy
from layerwise.tracing.request import Request
from layerwise.types import ModelInfo
from layerwise.versions import package_versions

if TYPE_CHECKING:
    import pyarrow as pa

_QUESTIONS_PER_SHARD = 256


@dataclass(frozen=True)
class ShardTask:
    """Questions that go through a model together; every lens reads the same states, for a shard of its own."""

    number: int
    """Its place among the study's tasks."""
    model: ModelSpec
    questions: tuple[Question, ...]
    lenses: tuple[str, ...]
    """What they are opened by."""
    top_k: int
    temperatures: tuple[float, ...]

    def request(self, question: Question) -> Request:
        """Return what to read for one of the questions."""
        return Request.about(question, top_k=self.top_k, temperatures=self.temperatures)

    def key(self, model: ModelInfo, lens: LensSpec) -> str:
        """Return the hash of all that determines the numbers of one lens's shard, by the model that was loaded."""
        determined_by = {
            "schema": SCHEMA_VERSION,
            "model": {k: v for k, v in asdict(model).items() if k not in ("source", "location", "revision")},
            "lens": lens.key,
            "top_k": self.top_k,
            "temperatures": self.temperatures,
            "questions": [asdict(question) for question in self.questions],
            "versions": package_versions(),
        }
        return hashlib.sha256(json.dumps(determined_by, sort_keys=True).encode()).hexdigest()[:24]


@dataclass(frozen=True, eq=False)
class Shard:
    """What one lens reads of a task's questions: a file of the run."""

    key: str
    model: str
    """The name that the model goes by."""
    lens: str
    questions: tuple[str, ...]
    """Ids, one per row."""
    table: "pa.Table"
    """Of the form `store.tables.QUESTIONS`."""
    lens_sum: str | None = None
    """SHA-256 of the lens's numbers, where it was fitted."""


@dataclass(frozen=True, eq=False)
class TaskResult:
    """A task that was computed to its end."""

    number: int
    """Of the task."""
    model: ModelInfo
    keys: tuple[str, ...]
    """Of all its shards, in the lenses' order."""
    shards: tuple[Shard, ...]
    """Those of them that were not stored yet."""


@dataclass(frozen=True)
class TaskFailure:
    """A task that could not be computed."""

    number: int
    """Of the task."""
    reason: str
    model: ModelInfo | None
    """None where it could not even be loaded."""


def tasks_of(planned: PlannedStudy, models: Sequence[ModelSpec]) -> list[ShardTask]:
    """Return all that a study has to compute, one model after another."""
    study, questions = planned.study, planned.questions
    lenses = tuple(planned.lenses.asked.get(name, name) for name in study.lenses)
    parts = [
        (model, questions[start : start + _QUESTIONS_PER_SHARD])
        for model in models
        for start in range(0, len(questions), _QUESTIONS_PER_SHARD)
    ]
    return [
        ShardTask(number, model, part, lenses, study.top_k, tuple(study.temperatures))
        for number, (model, part) in enumerate(parts)
    ]
