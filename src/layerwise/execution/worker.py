"""One model's tasks computed, by the model loaded."""

from collections.abc import Collection, Sequence

from layerwise.errors import PromptError
from layerwise.execution.tasks import Shard, ShardTask, TaskResult
from layerwise.lenses.card import expect_every_layer
from layerwise.lenses.fitted import FittedLens
from layerwise.questions.question import Question
from layerwise.store.tables import as_table, question_row, refused_row
from layerwise.tracing.model import Model


class Worker:
    """A model that is loaded, and computes tasks that are its own."""

    def __init__(self, model: Model, tasks: Sequence[ShardTask]) -> None:
        """Take a model, and all tasks that it has in the study, whichever of them this worker will compute."""
        self._model, self._tasks = model, tasks
        self.info = model.identified()
        self._lenses = [model.open_lens(lens) for lens in tasks[0].lenses]
        for lens in self._lenses:
            if isinstance(lens, FittedLens) and lens.card:
                expect_every_layer(lens.card, lens.spec.name, self.info.n_layers)

    def compare_precision(self) -> None:
        """Do so on the study's first question, whichever shards are missing: what is stored must not depend on that."""
        requests = (task.request(question) for task in self._tasks for question in task.questions)
        first = next((request for request in requests if self._model.refusal(request) is None), None)
        if first:
            self._model.compare_precision(first)

    def compute(self, task: ShardTask, stored: Collection[str]) -> TaskResult:
        """Return what a task comes to, without the shards whose keys are `stored` already.

        Raises:
            PromptError: one of the study's own questions cannot be asked.
            LayerwiseError: the numbers did not pass the checks.
        """
        keys = {lens.spec.name: task.key(self._model.info, lens.spec) for lens in self._lenses}
        missing = {lens: key for lens, key in keys.items() if key not in stored}
        shards = self._read(task, missing) if missing else ()
        return TaskResult(task.number, self.info, tuple(keys.values()), shards)

    def _read(self, task: ShardTask, missing: dict[str, str]) -> tuple[Shard, ...]:
        """Return the shards of some lenses, under their keys."""
        refusals = {question.id: self._refusal(task, question) for question in task.questions}
        asked = [question for question in task.questions if refusals[question.id] is None]
        requests = [task.request(question) for question in asked]
        # Always all lenses: which rows are read together changes the last digit.
        traces = self._model.trace_all(requests, lenses=self._lenses, check_length_groups=True) if requests else []
        by_id = dict(zip((question.id for question in asked), traces, strict=True))
        name = self._model.info.name
        shards = []
        for at, lens in enumerate(lens.spec for lens in self._lenses):
            if lens.name not in missing:
                continue
            rows = [
                question_row(by_id[question.id][at], question)
                if question.id in by_id
                else refused_row(question, name, lens.name, str(refusals[question.id]))
                for question in task.questions
            ]
            ids = tuple(question.id for question in task.questions)
            shards.append(Shard(missing[lens.name], name, lens.name, ids, as_table(rows), lens.sum))
        return tuple(shards)

    def _refusal(self, task: ShardTask, question: Question) -> str | None:
        """Return why a model cannot be asked a set's question; one of the study's own has to be mended."""
        reason = self._model.refusal(task.request(question))
        if reason and not question.set:
            raise PromptError(f"Question {question.id!r}: {reason}")
        return reason
