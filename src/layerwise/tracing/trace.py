"""One prompt's trace: what the model would say after every layer, with its provenance."""

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from layerwise.display import MimeBundle, display_of
from layerwise.errors import PromptError
from layerwise.measures.milestones import Milestones, find_milestones
from layerwise.questions.answers import Answer
from layerwise.text import one_line
from layerwise.tracing.layer_measures import AnswerCurves, FloatArray, IntArray, LayerMeasures
from layerwise.tracing.request import Request
from layerwise.types import ModelInfo, Token, TokenProb

if TYPE_CHECKING:
    import pandas

    from layerwise import charts


@dataclass(frozen=True)
class Checks:
    """What was verified before the numbers were handed out."""

    identity_error: float
    """max over the vocabulary of |Δ log-prob| between the lens at layer n and transformers' own forward."""
    identity_limit: float
    """The largest error that would have been let through, given the dtype."""
    states_error: float
    """Largest relative difference of any layer's state from the one seen in transformers' own forward."""
    covered_by: str
    """The prompt on which these checks ran: this one, or an earlier one of the same loaded model."""
    output_from: str
    """``own forward``, or ``layer n`` where an earlier prompt's check covers this one."""
    device_error: float | None
    """As `identity_error`, between this device and the CPU in float32; None on the CPU."""
    drift_variation: float | None
    """What half precision changes on the first prompt that was checked, against the same weights in
    float32: largest total variation, over layers, between what the logit lens reads. None in float32."""
    drift_entropy_bits: float | None
    """The largest difference in entropy there."""
    drift_tops: int | None
    """The number of layers there whose likeliest token differs."""


CHECK_FIGURES = tuple(field.name for field in fields(Checks) if field.type is not str)
"""The fields of `Checks` that are numbers."""


@dataclass(frozen=True, eq=False)
class AnswerTrace(AnswerCurves):
    """An answer, or a set of acceptable ones, read at every layer after the prompt; with its `AnswerCurves`."""

    answers: tuple[Answer, ...]
    """The acceptable answers, the one asked for first."""
    known: bool
    """Whether the model would write an answer of the set by itself: every token of it is the likeliest at the
    output, teacher-forced, and so outranks what any alternative has in its place."""

    @property
    def ids_after_prompt(self) -> set[int]:
        """Tokens that are an answer where they lead after the prompt itself: those decided by their first."""
        return {answer.deciding_token.id for answer in self.answers if answer.deciding_index == 0}


@dataclass(frozen=True, eq=False)
class TokenTrace:
    """A token that was asked for, at every layer and position. Arrays: [layer, position]."""

    token: Token
    logprob: FloatArray
    rank: IntArray


@dataclass(frozen=True, eq=False)
class Leaders:
    """The tokens that lead at any layer after one position, and the answer's deciding tokens."""

    ids: tuple[int, ...]
    """In the order in which they first lead."""
    logprobs: FloatArray
    """[layer, leader]"""


@dataclass(frozen=True, eq=False)
class Trace(LayerMeasures):
    """A model's prediction at every layer, with its `LayerMeasures`. Layers are 0 to n (blocks done).

    The position axis follows `positions`. Natural logarithms unless a name says bits.
    """

    model: ModelInfo
    request: Request | None
    """What was asked for; None in files that were written before traces kept it."""
    prompt: str
    """As it was tokenised: with --chat, the whole rendered conversation."""
    tokens: tuple[Token, ...]
    """The prompt's, with what the tokenizer adds by itself."""
    generated: tuple[Token, ...]
    """What the model went on with, one token after another, where that was asked for."""
    lens: str
    positions: tuple[int, ...]
    """Indices into tokens + generated: the prediction *after* that token is what is read."""
    top_ids: IntArray
    """[layer, position, rank]"""
    top_logprobs: FloatArray
    """[layer, position, rank]"""
    texts: dict[int, str]
    """Text of every id in `top_ids` and `leaders`."""
    answer: AnswerTrace | None
    wrong: AnswerTrace | None
    """A wrong answer of the same type, read like the answer up to its deciding token."""
    tracked: tuple[TokenTrace, ...]
    leaders: tuple[Leaders, ...] | None
    """One per position; None where they were not asked for."""
    output: tuple[TokenProb, ...]
    """The model's own likeliest next tokens after the prompt."""
    temperatures: tuple[tuple[float, tuple[TokenProb, ...]], ...]
    """The output at other temperatures, where asked for."""
    lse: FloatArray
    """[layer, temperature] Natural log of the sum of exp(logits / temperature), at those temperatures, after the
    prompt."""
    checks: Checks
    versions: dict[str, str]
    notes: tuple[str, ...] = ()
    """What is probably not meant, or not known of a fitted lens, in sentences: characters in prompt or answers that
    nobody sees, layers that the lens lacks; none usually."""

    @property
    def edits(self) -> tuple[str, ...]:
        """What was changed on the way up, as it was asked for."""
        return self.request.edits if self.request else ()

    @property
    def n_layers(self) -> int:
        return len(self.top_ids) - 1

    @property
    def depth(self) -> FloatArray:
        """Each layer divided by n."""
        return np.arange(self.n_layers + 1) / self.n_layers

    @property
    def last(self) -> int:
        """Place in `positions` of the prompt's last token."""
        return self._place(len(self.tokens) - 1)

    @property
    def answer_rank(self) -> IntArray:
        """The answer's rank at every layer."""
        return self._asked_answer().rank

    @property
    def answer_prob(self) -> FloatArray:
        """The probability of the answer's deciding token at every layer."""
        return self._asked_answer().prob

    @property
    def answer_logprob(self) -> FloatArray:
        """The whole answer's log-probability at every layer."""
        return self._asked_answer().logprob

    def top(self, layer: int = -1, position: int | None = None) -> tuple[TokenProb, ...]:
        """Return the likeliest tokens at a layer (blocks done; -1 is the last).

        `position` is an index into the prompt's tokens, by default its last (which is -1 too); the
        tokens that the model generated follow with the next indices. Raises PromptError
        for a layer that does not exist or a position that was not kept.
        """
        if not -self.n_layers - 1 <= layer <= self.n_layers:
            raise PromptError(f"Layer {layer} does not exist: this model has layers 0 to {self.n_layers}.")
        place = self.last if position is None else self._place(position)
        pairs = zip(self.top_ids[layer, place], self.top_logprobs[layer, place], strict=True)
        return tuple(TokenProb(int(i), self.texts[int(i)], float(np.exp(lp)), float(lp)) for i, lp in pairs)

    @cached_property
    def milestones(self) -> Milestones:
        """At which layer things begin or settle, at the prompt's last position."""
        at = self.last
        return find_milestones(
            entropy_bits=self.entropy_bits[:, at],
            kl_from_final_bits=self.kl_from_final_bits[:, at],
            top_id=self.top_ids[:, at, 0],
            top_prob=np.exp(self.top_logprobs[:, at, 0]),
            prompt_ids=frozenset(token.id for token in self.tokens),
            answer_prob=self.answer.prob if self.answer else None,
            answer_rank=self.answer.rank if self.answer else None,
        )

    def to_frame(self) -> "pandas.DataFrame":
        """Return one row per layer and position: the measures, the likeliest token, tracked tokens."""
        from layerwise.tracing.data_frame import frame_of

        return frame_of(self)

    def plot(self) -> "charts.AnyChart":
        """Return a chart of the last position: the leading token at every layer, and the answer."""
        from layerwise import charts

        frame = charts.leading_frame(
            [self.top(layer)[0] for layer in range(self.n_layers + 1)],
            self.answer.ids_after_prompt if self.answer else (),
            {tracked.token.id for tracked in self.tracked},
            self.answer.prob.tolist() if self.answer else None,
        )
        return charts.leading_tokens(frame, one_line(self.model.name), [one_line(self.prompt, limit=90)])

    def save(self, path: str | Path) -> None:
        """Write this trace as JSON (the `layerwise trace --json` format), whole or not at all."""
        from layerwise.tracing.trace_file import save

        save(self, Path(path))

    @staticmethod
    def open(path: str | Path) -> "Trace":
        """Return the trace stored at `path`. Raises StoreError if it is not one."""
        from layerwise.tracing.trace_file import read

        return read(Path(path))

    def __eq__(self, other: object) -> bool:
        from layerwise.tracing.trace_file import to_json

        return isinstance(other, Trace) and to_json(self) == to_json(other)

    __hash__ = None  # type: ignore[assignment]  # compared by content, and arrays can change

    def to_html(self, path: str | Path) -> None:
        """Write this trace's view as one HTML file that needs nothing else. Raises StoreError if that fails."""
        display_of(self).to_html(path)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> MimeBundle:
        return display_of(self)._repr_mimebundle_()

    def __repr__(self) -> str:
        answer = f", answer={self.answer.answers[0].text!r}" if self.answer else ""
        read = f"lens={self.lens!r}, layers=0…{self.n_layers}" + (f", edits={self.edits!r}" if self.edits else "")
        return f"Trace({self.model.name!r}, {self.prompt!r}, {read}{answer})"

    def _place(self, position: int) -> int:
        wanted = position + len(self.tokens) if position < 0 else position
        if wanted not in self.positions:
            raise PromptError(
                f"Position {position} was not kept: this trace holds {', '.join(map(str, self.positions))}. "
                "Trace again with positions='all' or with that position."
            )
        return self.positions.index(wanted)

    def _asked_answer(self) -> AnswerTrace:
        if self.answer is None:
            raise PromptError("No answer was asked for. Trace again with answer=…, for instance answer=' Berlin'.")
        return self.answer
