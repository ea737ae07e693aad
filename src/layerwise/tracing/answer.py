"""An answer's tokens, read at their places and combined."""

from collections.abc import Callable

import numpy as np

from layerwise.questions.answers import Answer
from layerwise.tracing.prepared import Prepared
from layerwise.tracing.reading import Place, Reading
from layerwise.tracing.trace import AnswerTrace


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

    def place(answer: Answer, k: int) -> Place:
        return Place(index, item.last + k, answer.ids[:k])

    def each(answer: Answer, values: Callable[[Place, int], np.ndarray]) -> list[np.ndarray]:
        return [values(place(answer, k), token) for k, token in enumerate(answer.ids)]

    deciding = {a.ids[: a.deciding_index + 1]: place(a, a.deciding_index) for a in answers}
    ranks = np.stack([reading.rank(where, ids[-1]) for ids, where in deciding.items()])
    ties = np.stack([reading.ties(where, ids[-1]) for ids, where in deciding.items()])
    together: dict[Place, list[int]] = {}
    for ids, where in deciding.items():
        together.setdefault(where, []).append(ids[-1])
    first_place, first_tokens = Place(index, item.last), sorted({a.ids[0] for a in answers})
    return AnswerTrace(
        answers=answers,
        prob=np.max([_prob(reading, where, tokens) for where, tokens in together.items()], axis=0),
        rank=ranks.min(axis=0),
        ties=np.take_along_axis(ties, ranks.argmin(axis=0)[None], axis=0)[0],
        margin=np.max([reading.margin(where, tokens) for where, tokens in together.items()], axis=0),
        logprob=np.logaddexp.reduce([np.sum(each(answer, reading.logprob), axis=0) for answer in _disjoint(answers)]),
        worst_rank=np.min([np.max(each(answer, reading.rank), axis=0) for answer in answers], axis=0),
        known=any(np.max(each(answer, output.rank)) == 1 for answer in answers),
        first_token_prob=_prob(reading, first_place, first_tokens),
        first_token_rank=np.min([reading.rank(first_place, token) for token in first_tokens], axis=0),
    )


def _prob(reading: Reading, where: Place, tokens: list[int]) -> np.ndarray:
    return np.sum([np.exp(reading.logprob(where, token)) for token in tokens], axis=0)


def _disjoint(answers: tuple[Answer, ...]) -> list[Answer]:
    """Return answers whose probabilities may be added: without those that another one begins."""
    distinct = {answer.ids: answer for answer in answers}
    return [
        answer
        for ids, answer in distinct.items()
        if not any(other != ids and ids[: len(other)] == other for other in distinct)
    ]
