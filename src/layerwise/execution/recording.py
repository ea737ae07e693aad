"""Running a study into a folder: what its tasks come to, each stored as soon as it is there."""

from collections.abc import Callable, Sequence
from pathlib import Path

from layerwise.execution.executors import Executor, InProcess
from layerwise.execution.tasks import TaskFailure, tasks_of
from layerwise.models.sources.spec import ModelSpec
from layerwise.store.run import Run, open_run
from layerwise.store.writer import writing
from layerwise.studies.study import PlannedStudy
from layerwise.tracing.model import Model

_WAITING = "waiting for another process that is writing this run"

OnProgress = Callable[[str, int, int], None]
"""Called with (what is being done, questions done, questions in all), over all models."""


def record(
    planned: PlannedStudy,
    folder: Path,
    *,
    load: Callable[[str], Model],
    resume: bool = False,
    on_progress: OnProgress = lambda what, done, total: None,
) -> Run:
    """Run a study in this process, with models of one's own, and return the stored run.

    Args:
        planned: what to run.
        folder: where the run is stored.
        load: gives the model for one of the study's names.
        resume: go on with what is in the folder, computing only what is missing.
        on_progress: told what is being done.

    Raises:
        StoreError: the folder holds another run, another process writes it, or it cannot be written to.
    """
    executor = InProcess(lambda spec: load(str(spec.name)))
    return carry_out(planned, folder, executor, resume=resume, on_progress=on_progress)


def carry_out(
    planned: PlannedStudy,
    folder: Path,
    executor: Executor,
    *,
    models: Sequence[ModelSpec] | None = None,
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
        executor: where it is computed.
        models: how the study's models are to be loaded, one for each in their order; by default as their names say.
        resume: go on with what is in the folder, computing only what is missing.
        on_progress: told what is being done.

    Raises:
        StoreError: the folder holds another run, another process writes it, or it cannot be written to.
    """
    tasks = tasks_of(planned, models or [ModelSpec(name) for name in planned.study.models])
    total, done = sum(len(task.questions) for task in tasks), 0

    def tell(what: str) -> None:
        on_progress(what, done, total)

    with writing(planned, folder, resume=resume, on_waiting=lambda: tell(_WAITING)) as writer:
        keys, failures = dict[int, tuple[str, ...]](), dict[str, str]()
        for outcome in executor.run(tasks, writer.stored, tell):
            task = tasks[outcome.number]
            name = str(task.model.name)
            if outcome.model:
                writer.describe(name, outcome.model)
            if isinstance(outcome, TaskFailure):
                failures.setdefault(name, outcome.reason)
            else:
                for shard in outcome.shards:
                    writer.store(
                        shard.key,
                        shard.table,
                        model=shard.model,
                        lens=shard.lens,
                        questions=shard.questions,
                        lens_sum=shard.lens_sum,
                    )
                keys[task.number] = outcome.keys
            done += len(task.questions)
            tell(f"reading {name}")
        writer.finish([key for number in sorted(keys) for key in keys[number]], failures)
        return open_run(folder)
