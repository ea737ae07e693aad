"""Where a study's tasks are computed. Another place is another `Executor`, and nothing else changes."""

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from typing import Protocol

from layerwise.errors import LayerwiseError, StoreError
from layerwise.execution.tasks import ShardTask, TaskFailure, TaskResult
from layerwise.execution.worker import Worker
from layerwise.interrupts import collect_garbage
from layerwise.models.sources.spec import ModelSpec
from layerwise.tracing.loading import load_spec
from layerwise.tracing.model import Model

Outcome = TaskResult | TaskFailure


class Executor(Protocol):
    """A place where tasks are computed."""

    def run(
        self, tasks: Sequence[ShardTask], stored: Collection[str], tell: Callable[[str], None]
    ) -> Iterator[Outcome]:
        """Yield each task's outcome as soon as it is there, in any order: exactly one for each.

        Args:
            tasks: what there is to do. Those of one model stand together.
            stored: keys of shards that need not be computed. It grows while what was yielded is stored.
            tell: to be told what is being done, for somebody who waits.

        Raises:
            StoreError: nothing can be stored any more. All else that fails is an outcome.
        """
        ...


class InProcess:
    """This process: one model after another, its tasks in their order."""

    def __init__(self, load: Callable[[ModelSpec], Model] = load_spec) -> None:
        self._load = load

    def run(
        self, tasks: Sequence[ShardTask], stored: Collection[str], tell: Callable[[str], None]
    ) -> Iterator[Outcome]:
        """Yield each task's outcome. Where one fails, so do the later ones of its model, for the same reason."""
        for number, (spec, of_model) in enumerate(groupby(tasks, key=lambda task: task.model)):
            if number:
                collect_garbage()  # the model before, or two of them would be in memory
            yield from self._run_model(spec, list(of_model), stored, tell)

    def _run_model(
        self, spec: ModelSpec, tasks: list[ShardTask], stored: Collection[str], tell: Callable[[str], None]
    ) -> Iterator[Outcome]:
        done, info = 0, None
        try:
            tell(f"loading {spec.name}")
            worker = Worker(self._load(spec), tasks)
            info = worker.info
            worker.compare_precision()
            for task in tasks:
                tell(f"reading {spec.name}")
                result = worker.compute(task, stored)
                done += 1
                yield result
        except StoreError:
            raise
        except LayerwiseError as error:
            reason = f"{type(error).__name__}: {error}"
            yield from (TaskFailure(task.number, reason, info) for task in tasks[done:])
