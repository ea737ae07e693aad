"""An executor in a process of its own, which is sent tasks and sends back what they come to, last task first."""

import multiprocessing
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby

import torch

from layerwise.execution.executors import InProcess, Outcome
from layerwise.execution.tasks import ShardTask


class Elsewhere:
    """Computes each model's tasks in another process, which lasts as long as the context."""

    def __enter__(self) -> "Elsewhere":
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def run(
        self, tasks: Sequence[ShardTask], stored: Collection[str], tell: Callable[[str], None]
    ) -> Iterator[Outcome]:
        """Yield the outcomes, the last model's last task first."""
        by_model = [list(of_model) for _, of_model in groupby(tasks, key=lambda task: task.model)]
        for of_model in reversed(by_model):
            tell(f"sending {of_model[0].model.name}")
            found = self._pool.submit(_compute, of_model, frozenset(stored), torch.get_num_threads())
            yield from reversed(found.result())


def _compute(tasks: list[ShardTask], stored: frozenset[str], threads: int) -> list[Outcome]:
    torch.set_num_threads(threads)
    return list(InProcess().run(tasks, stored, lambda what: None))
