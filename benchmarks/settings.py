"""What is read in each comparison."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.questions import ONE, Question, questions, text_of

MODELS = ("smollm2-135m", "gemma-3-270m")

PROMPTS_RUN = 64
"""Of many prompts, what grows with their number is measured on so many and scaled."""


@dataclass(frozen=True)
class Work:
    """Questions, and the positions that are read in each."""

    questions: Sequence[Question]
    positions: Literal["last", "all"]

    def first(self, number: int) -> tuple["Work", float]:
        """Return the first questions, and how many times as much there is in all."""
        part = self.questions[:number]
        return replace(self, questions=part), len(self.questions) / len(part)


@dataclass(frozen=True)
class Setting:
    """One comparison: a row of the table."""

    name: str
    title: str
    positions: Literal["last", "all"] = "last"
    tokens: int | None = None
    """Length of one long text; None for questions."""
    prompts: int = 1
    dtype: str = "float32"

    def work(self, tokenizer: Any) -> Work:
        """Return what is read, in the words of the model with this tokenizer."""
        if self.tokens:
            return Work([text_of(self.tokens, tokenizer)], self.positions)
        return Work([ONE] if self.prompts == 1 else questions(self.prompts), self.positions)


COMPARISONS = (
    Setting("last", "one prompt, last position"),
    Setting("prompt", "one prompt, all positions", positions="all"),
    Setting("256", "256 tokens, all positions", positions="all", tokens=256),
    Setting("64", "64 prompts, last position", prompts=64),
    Setting("1000", "1000 prompts, last position", prompts=1000),
    Setting("bfloat16", "one prompt, all positions, bfloat16", positions="all", dtype="bfloat16"),
)
MEMORY = (
    Setting("256", "256 tokens, all positions", positions="all", tokens=256),
    Setting("2048", "2048 tokens, all positions", positions="all", tokens=2048),
    Setting("1000", "1000 prompts, last position", prompts=1000),
)
