"""What a request means in a model's own tokens."""

import math
from dataclasses import dataclass, replace

from layerwise.capture.own import generate_greedily
from layerwise.errors import PromptError
from layerwise.models.loading import LoadedModel
from layerwise.questions.answers import Answer, resolve_answer
from layerwise.text import visible
from layerwise.tracing.request import Request
from layerwise.types import Token


@dataclass(frozen=True)
class Prepared:
    """A request in tokens."""

    request: Request
    text: str
    """The prompt as tokenised."""
    ids: tuple[int, ...]
    generated: tuple[int, ...]
    positions: tuple[int, ...]
    """Kept for the reader, ascending; the prompt's last is always among them."""
    answers: tuple[Answer, ...]
    wrong: Answer | None
    tracked: tuple[Token, ...]

    @property
    def scored(self) -> tuple[Answer, ...]:
        """All whose tokens are read, one after another."""
        return (*self.answers, self.wrong) if self.wrong else self.answers

    @property
    def last(self) -> int:
        return len(self.ids) - 1


def prepare(model: LoadedModel, request: Request) -> Prepared:
    """Return a request in the model's own tokens.

    Raises:
        PromptError: the prompt is empty or too long, or an answer, tracked token or position
            cannot be used.
    """
    tokenizer = model.tokenizer
    if not isinstance(request.prompt, str):
        raise PromptError(f"A prompt is a text; got {type(request.prompt).__name__}. Trace several with trace_all.")
    if not request.prompt:
        raise PromptError("The prompt is empty, so there is no token whose prediction could be read. Give some text.")
    if request.system is not None and not request.chat:
        raise PromptError("A system message belongs to a conversation: add --chat (chat=True), or leave it out.")
    if request.top_k < 1 or request.generate < 0 or any(not 0 < t < math.inf for t in request.temperatures):
        raise PromptError("top_k must be at least 1, generate at least 0, and temperatures greater than 0 and finite.")
    if (request.alternatives or request.wrong) and not request.answers:
        raise PromptError("Alternatives settle which token of an *answer* decides, and none was given. Add an answer.")
    text = tokenizer.render_chat(request.prompt, request.system) if request.chat else request.prompt
    ids = tokenizer.encode(text, special=not request.chat)
    if not ids:
        raise PromptError(f"The prompt {request.prompt!r} tokenises to nothing with this model's tokenizer.")
    answers = tuple(
        resolve_answer(tokenizer, text, ids, answer, request.alternatives, special=not request.chat)
        for answer in request.answers
    )
    wrong = None
    if request.wrong:
        wrong = resolve_answer(tokenizer, text, ids, request.wrong, request.answers, special=not request.chat)
        wrong = replace(wrong, tokens=wrong.tokens[: wrong.deciding_index + 1])
    scored = answers if wrong is None else (*answers, wrong)
    needed = len(ids) + max([request.generate, *(len(a.tokens) - 1 for a in scored)])
    if model.context_length and needed > model.context_length:
        raise PromptError(
            f"{needed:,} tokens are needed (prompt {len(ids):,}), and this model was built for "
            f"{model.context_length:,}. Beyond that its positions mean nothing. Shorten the prompt."
        )
    generated = generate_greedily(model, ids, request.generate) if request.generate else ()
    reads_from_generation = range(len(ids), len(ids) + len(generated) - 1)
    positions = {*_positions(request.positions, len(ids)), len(ids) - 1, *reads_from_generation}
    tracked = tuple(dict.fromkeys(_single_token(model, piece) for piece in request.track))
    return Prepared(request, text, ids, generated, tuple(sorted(positions)), answers, wrong, tracked)


def _positions(wanted: str, count: int) -> list[int]:
    """Return the indices that ``last``, ``all`` or ``0,3:5,-1`` means for `count` tokens."""
    if wanted == "last":
        return [count - 1]
    if wanted == "all":
        return list(range(count))
    found: list[int] = []
    for part in wanted.split(","):
        try:
            if ":" in part:
                start, stop = (int(bound) if bound.strip() else None for bound in part.split(":"))
                chosen = list(range(count))[start:stop]
            else:
                chosen = [range(count)[int(part)]]
        except (ValueError, IndexError):
            chosen = []
        if not chosen:
            raise PromptError(
                f"Positions {wanted!r}: {part!r} names none of this prompt's {count} tokens (0 to {count - 1}). "
                "Expected last, all, or indices and slices as in 0,3:5,-1."
            )
        found += chosen
    return found


def _single_token(model: LoadedModel, text: str) -> Token:
    """Return the one token that `text` is, as it stands in the middle of a sentence."""
    tokenizer = model.tokenizer
    before = tokenizer.encode("a", special=False)
    together = tokenizer.encode("a" + text, special=False)
    ids = together[len(before) :] if together[: len(before)] == before else tokenizer.encode(text, special=False)
    if len(ids) != 1:
        pieces = " ".join(visible(token.text) for token in tokenizer.tokens(ids)) or "nothing"
        raise PromptError(
            f"{text!r} is not one token here but {len(ids)} ({pieces}), and only single tokens can be tracked. "
            "Track one of those, or ask for the whole text as an answer."
        )
    return tokenizer.tokens(ids)[0]
