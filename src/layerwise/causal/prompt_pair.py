"""Two prompts that are run beside each other, and what is read after both."""

from collections.abc import Mapping
from dataclasses import dataclass

from layerwise.causal.alignment import Alignment, align, positions_of
from layerwise.causal.asked_prompt import asked_of_both
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
        asked, other = asked_of_both(clean, corrupted)
        ids, answers = (asked.ids, other.ids), (asked.answer, asked.against)
        if subject is None:
            return PromptPair(*ids, align(model.tokenizer, *ids, spans), None, *answers)
        where = positions_of(model.tokenizer, ids[0], subject)
        same = Alignment(tuple((at, at) for at in range(len(ids[0]))), where.start, len(ids[0]) - where.stop)
        return PromptPair(*ids, same, where, *answers)
