"""One prompt, and what is read after it."""

from dataclasses import dataclass

from layerwise.tracing.prepared_request import Prepared
from layerwise.types import Token


@dataclass(frozen=True)
class AskedPrompt:
    """A prompt and its answers; those tokens of the answer that come before the deciding one are part of it."""

    ids: tuple[int, ...]
    answer: Token
    """The answer's deciding token."""
    against: Token | None

    @staticmethod
    def of(prepared: Prepared) -> "AskedPrompt":
        """Return a request's prompt up to where its first answer is told from its wrong one."""
        answer = prepared.answers[0]
        against = prepared.wrong.deciding_token if prepared.wrong else None
        return AskedPrompt(prepared.ids + answer.ids[: answer.deciding_index], answer.deciding_token, against)
