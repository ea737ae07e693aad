"""What is asked of one prompt."""

import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from layerwise.errors import PromptError
from layerwise.interventions.specs import EditSpec
from layerwise.interventions.written import parse
from layerwise.questions.question import Question
from layerwise.text import one_line

_KEYS = ("role", "content")

_TEXTS = (str, bytes, bytearray, memoryview)
"""Sequences that are no lists of ids: bytes are what a text is written in."""


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: str
    """``user``, ``assistant``, ``system``, or another that the model's chat template knows."""
    content: str


Prompt = str | Sequence[int] | Sequence[Message] | Sequence[Mapping[str, str]]
"""A text, a text's token ids, or a conversation."""

Answered = str | Sequence[int]
"""An answer's text, or its token ids."""

Edits = str | EditSpec | Sequence[str | EditSpec]
"""One edit or several, each a record or as it is written."""


@dataclass(frozen=True)
class Request:
    """One prompt and what to read after it. Lists are kept as tuples, and messages as `Message`."""

    prompt: Prompt
    """A text; token ids, to which nothing is added; or the messages of a conversation. Where its last message is the
    assistant's, it is the reply's beginning."""
    answers: tuple[Answered, ...] = ()
    """Acceptable answers, the main one first."""
    alternatives: tuple[Answered, ...] = ()
    """Other answers of the same type; they settle which token decides."""
    wrong: Answered | None = None
    """One of them that is read like the answer, up to the token that tells it from that: what a layer gives to it, it
    gives to any answer of this type."""
    track: tuple[str, ...] = ()
    """Texts of single tokens to follow at every layer and position."""
    positions: str = "last"
    """``last``, ``all``, or indices and slices as in ``0,3:5,-1``."""
    top_k: int = 5
    chat: bool = False
    """Put a text into the model's chat template, as the user's message."""
    system: str | None = None
    """A system message before that."""
    generate: int = 0
    """How many tokens the model goes on with, each traced too."""
    temperatures: tuple[float, ...] = ()
    leaders: bool = False
    """Keep the tokens that lead at any layer, at every layer: for pictures."""
    chat_args: dict[str, Any] = field(default_factory=dict, hash=False)
    """Arguments of the chat template, such as ``enable_thinking``: values that JSON has."""
    edits: tuple[str, ...] = ()
    """What is changed on the way up: `EditSpec` records, or as they are written (``OPERATION SITE[@POSITIONS]
    NAME=VALUE …``), which is how they are kept."""

    def __post_init__(self) -> None:
        own = {
            "prompt": as_prompt(self.prompt),
            "answers": tuple(map(as_answer, self.answers)),
            "alternatives": tuple(map(as_answer, self.alternatives)),
            "wrong": as_answer(self.wrong),
            "chat_args": _as_json(self.chat_args),
            "edits": tuple(str(parse(str(edit))) for edit in self.edits),
        }
        for name, value in own.items():
            object.__setattr__(self, name, value)

    @classmethod
    def between(cls, prompt: "Prompt", answer: "Answered", against: "Answered | None" = None, **more: Any) -> "Request":
        """Return what to read of an answer, and where there is another one, of both up to where they part."""
        return cls(prompt, (answer,), () if against is None else (against,), wrong=against, **more)

    @classmethod
    def about(cls, question: Question, *, top_k: int = 5, temperatures: tuple[float, ...] = ()) -> "Request":
        """Return what to read for a question; its first alternative is the wrong answer."""
        return cls(
            question.prompt,
            answers=question.answers,
            alternatives=question.alternatives,
            wrong=next(iter(question.alternatives), None),
            track=question.track,
            top_k=top_k,
            temperatures=temperatures,
        )


def as_prompt(prompt: Any) -> Any:
    """Return ids and messages as tuples of them, in whatever they came; all else as it is.

    Raises:
        PromptError: a message has other keys than ``role`` and ``content``, or something else than texts there.
    """
    if isinstance(prompt, _TEXTS):
        return prompt
    prompt = prompt.tolist() if hasattr(prompt, "tolist") else prompt
    if not isinstance(prompt, Sequence):
        return prompt
    if prompt and all(isinstance(part, (Mapping, Message)) for part in prompt):
        return tuple(_as_message(number, part) for number, part in enumerate(prompt, start=1))
    ids = as_answer(prompt)
    return prompt if ids is None else ids


def as_answer(answer: Any) -> Any:
    """Return token ids as a tuple of them, in whatever they came; all else as it is."""
    if isinstance(answer, _TEXTS):
        return answer
    answer = answer.tolist() if hasattr(answer, "tolist") else answer
    if not isinstance(answer, Sequence):
        return answer
    if any(isinstance(part, bool) or not hasattr(part, "__index__") for part in answer):
        return answer
    return tuple(operator.index(part) for part in answer)


def as_answers(given: Any) -> tuple[Any, ...]:
    """Return several answers, each a text or token ids, where one may have come alone."""
    one = as_answer(given)
    is_one = isinstance(one, str) or (bool(one) and all(isinstance(part, int) for part in one))
    return (one,) if is_one else tuple(one)


def as_edits(edits: Edits) -> tuple[str, ...]:
    """Return several edits as they are written, where one may have come alone."""
    return tuple(map(str, [edits] if isinstance(edits, str | EditSpec) else edits))


def as_positions(positions: str | int | Sequence[int]) -> str:
    """Return positions as they are written, from numbers too."""
    if isinstance(positions, str):
        return positions
    return str(positions) if isinstance(positions, int) else ",".join(str(position) for position in positions)


def _as_message(number: int, message: Any) -> Message:
    if isinstance(message, Message):
        return message
    if {*message} != {*_KEYS} or not all(isinstance(message[key], str) for key in _KEYS):
        shown = one_line(", ".join(f"{key}: {type(value).__name__}" for key, value in message.items()), 120)
        raise PromptError(
            f"Message {number} of the conversation should have a role and a content, both texts, and nothing else "
            f"(what a template makes of other keys is not checked). It has {shown or 'nothing'}. "
            'Write {"role": "user", "content": "…"}.'
        )
    return Message(message["role"], message["content"])


def _as_json(arguments: Any) -> dict[str, Any]:
    """Return template arguments as they are stored with a trace."""
    try:
        if not all(isinstance(name, str) for name in arguments):
            raise TypeError("a name is no text")
        return json.loads(json.dumps(dict(arguments), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PromptError(
            "Arguments of a chat template have names, and values that JSON has (true, numbers, texts, lists, objects), "
            f"so that a trace can keep them; got {one_line(repr(arguments), 120)}."
        ) from error
