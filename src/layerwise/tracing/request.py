"""What is asked of one prompt."""

from dataclasses import dataclass

from layerwise.questions.question import Question


@dataclass(frozen=True)
class Request:
    """One prompt and what to read behind it."""

    prompt: str
    answers: tuple[str, ...] = ()
    """Acceptable answers, the main one first."""
    alternatives: tuple[str, ...] = ()
    """Other answers of the same type; they settle which token decides."""
    wrong: str | None = None
    """One of them that is read like the answer, up to the token that tells it from that: what a layer gives to it, it
    gives to any answer of this type."""
    track: tuple[str, ...] = ()
    """Texts of single tokens to follow at every layer and position."""
    positions: str = "last"
    """``last``, ``all``, or indices and slices as in ``0,3:5,-1``."""
    top_k: int = 5
    chat: bool = False
    system: str | None = None
    generate: int = 0
    """How many tokens the model goes on with, each traced too."""
    temperatures: tuple[float, ...] = ()
    leaders: bool = False
    """Keep the tokens that lead at any layer, at every layer: for pictures."""

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
