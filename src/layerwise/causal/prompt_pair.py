"""Two prompts that are run beside each other, and what is read after both."""

from collections.abc import Mapping
from dataclasses import dataclass

from layerwise.causal.alignment import Alignment, align, positions_of
from layerwise.errors import PromptError
from layerwise.models.loading.loaded import LoadedModel
from layerwise.tracing.prepared_request import Prepared
from layerwise.types import Token


@dataclass(frozen=True)
class PromptPair:
    """Two prompts and what is read after them; the answer's tokens before the deciding one are part of both."""

    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    alignment: Alignment
    subject: range | None
    """Tokens that noise is put on, where that is what corrupts."""
    answer: Token
    against: Token | None

    @property
    def effect(self) -> str:
        """The measure that edits move."""
        return "logit_difference" if self.against else "answer_logprob"

    @staticmethod
    def of(
        model: LoadedModel,
        clean: Prepared,
        corrupted: Prepared,
        subject: str | None,
        spans: Mapping[str, tuple[str, str]] | None,
    ) -> "PromptPair":
        """Align two prompts, or one with itself where noise on a subject corrupts it.

        Raises:
            PromptError: they cannot be aligned, the answer is not the same after both, or the subject is not there.
        """
        answer, against, *both = answers_of_both(clean, corrupted)
        ids = both[0], both[1]
        if subject is None:
            return PromptPair(*ids, align(model.tokenizer, *ids, spans), None, answer, against)
        where = positions_of(model.tokenizer, ids[0], subject)
        same = Alignment(tuple((at, at) for at in range(len(ids[0]))), where.start, len(ids[0]) - where.stop)
        return PromptPair(*ids, same, where, answer, against)


def answers_of_both(
    clean: Prepared, corrupted: Prepared
) -> tuple[Token, Token | None, tuple[int, ...], tuple[int, ...]]:
    """Return the answer's deciding token, the other answer's, and both prompts with the tokens before it.

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
    tail = read[0][0][:-1]
    against = clean.wrong.deciding_token if clean.wrong else None
    return clean.answers[0].deciding_token, against, clean.ids + tail, corrupted.ids + tail
