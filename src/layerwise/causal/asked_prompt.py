"""A prompt and what is read after it, alone or beside another one."""

from dataclasses import dataclass

from layerwise.errors import PromptError
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


def asked_of_both(clean: Prepared, corrupted: Prepared) -> tuple[AskedPrompt, AskedPrompt]:
    """Return two prompts with the answers that both are asked for.

    Raises:
        PromptError: the answers have other tokens after one prompt than after the other.
    """
    read = [
        [each.ids[: each.deciding_index + 1] for each in (*item.answers, *([item.wrong] if item.wrong else []))]
        for item in (clean, corrupted)
    ]
    if read[0] != read[1]:
        raise PromptError(
            f"The answer {clean.answers[0].text!r} has other tokens after the corrupted prompt than after the clean "
            "one. End both prompts alike, or give answers as token ids."
        )
    return AskedPrompt.of(clean), AskedPrompt.of(corrupted)
