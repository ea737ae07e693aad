"""An answer's tokens, read at their places and combined."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from layerwise.questions.answers import Answer
from layerwise.tracing.layer_measures import ANSWER_CURVES
from layerwise.tracing.places import Place, Reading
from layerwise.tracing.prepared_request import Prepared
from layerwise.tracing.trace import AnswerTrace


@dataclass(frozen=True, eq=False)
class AnswerReading:
    """What a lens says of some of a request's answers, which are read together as one set."""

    index: int
    """Of the request."""
    last: int
    """Position of the prompt's last token."""
    answers: tuple[Answer, ...]
    reading: Reading

    @property
    def first_place(self) -> Place:
        """Where every answer's first token is read."""
        return Place(self.index, self.last)

    @property
    def first_tokens(self) -> list[int]:
        return sorted({answer.ids[0] for answer in self.answers})

    @property
    def disjoint(self) -> list[Answer]:
        """Answers whose probabilities may be added: without those that another one begins."""
        distinct = {answer.ids: answer for answer in self.answers}
        return [
            answer
            for ids, answer in distinct.items()
            if not any(other != ids and ids[: len(other)] == other for other in distinct)
        ]

    def of_tokens(self, answer: Answer, values: Callable[[Place, int], np.ndarray]) -> np.ndarray:
        """Return what is said of each of an answer's tokens, [token, layer]."""
        return np.stack([values(self._place(answer, k), token) for k, token in enumerate(answer.ids)])

    def of_deciding(self, values: Callable[[Place, int], np.ndarray]) -> np.ndarray:
        """Return what is said of each distinct deciding token, [token, layer]."""
        return np.stack([values(where, ids[-1]) for ids, where in self._deciding.items()])

    def behind_same(self, values: Callable[[Place, list[int]], np.ndarray]) -> np.ndarray:
        """Return what is said of deciding tokens that stand after the same tokens, together, [place, layer]."""
        together: dict[Place, list[int]] = {}
        for ids, where in self._deciding.items():
            together.setdefault(where, []).append(ids[-1])
        return np.stack([values(where, tokens) for where, tokens in together.items()])

    @cached_property
    def _deciding(self) -> dict[tuple[int, ...], Place]:
        """Where each answer is decided, by its ids up to there."""
        return {a.ids[: a.deciding_index + 1]: self._place(a, a.deciding_index) for a in self.answers}

    def _place(self, answer: Answer, k: int) -> Place:
        return Place(self.index, self.last + k, answer.ids[:k])


def join_answers(
    index: int, item: Prepared, answers: tuple[Answer, ...], reading: Reading, output: Reading
) -> AnswerTrace:
    """Return some of a request's answers at every layer; `AnswerTrace` says how a set is combined.

    Args:
        index: of the request.
        item: the request.
        answers: read together as one set.
        reading: what a lens says at every place.
        output: what the model says there: one layer.
    """
    read, said = (AnswerReading(index, item.last, answers, each) for each in (reading, output))
    return AnswerTrace(
        answers=answers,
        known=any(said.of_tokens(answer, output.rank).max() == 1 for answer in answers),
        **{name: curve.take(read) for name, curve in ANSWER_CURVES.items()},
    )
