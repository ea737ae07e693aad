"""What a contender is, and the first of them: layerwise."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import layerwise as lw
from benchmarks.settings import Work


class NotOfferedError(Exception):
    """This tool has no such reading."""


@dataclass(frozen=True)
class Task:
    """Something to run, and how many times as much was asked for."""

    run: Callable[[], object]
    scale: float = 1.0


class Contender(Protocol):
    """Somebody whose time is taken."""

    def on(self, work: Work) -> Task:
        """Return this work, ready to run. Raises NotOfferedError."""
        ...


@dataclass(frozen=True)
class Models:
    """A model, and as many more of it as are needed by those who change theirs."""

    name: str
    dtype: str

    @cached_property
    def shared(self) -> lw.Model:
        return self.fresh()

    def fresh(self) -> lw.Model:
        """Return another one, with weights of its own."""
        return lw.load(self.name, dtype=self.dtype)


class Layerwise:
    """A whole trace, from text to records: an answer's ranks, divergences, distances, checks."""

    def __init__(self, models: Models):
        self.model = models.shared

    def on(self, work: Work) -> Task:
        requests = [lw.Request(q.prompt, answers=(q.answer,), positions=work.positions) for q in work.questions]
        return Task(lambda: self.model.trace_all(requests))
