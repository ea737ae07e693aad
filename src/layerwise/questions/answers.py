"""Answers as token ids, matched by id and never by text."""

from collections.abc import Sequence
from dataclasses import dataclass

from layerwise.errors import PromptError
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.text import one_line, visible
from layerwise.types import Token


@dataclass(frozen=True)
class Answer:
    """One acceptable answer to a prompt, as the tokenizer writes it after that prompt."""

    text: str
    tokens: tuple[Token, ...]
    deciding_index: int
    """Index into `tokens` of the deciding token."""

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(token.id for token in self.tokens)

    @property
    def deciding_token(self) -> Token:
        return self.tokens[self.deciding_index]


def resolve_answer(
    tokenizer: Tokenizer,
    prompt: str,
    prompt_ids: tuple[int, ...],
    text: str | Sequence[int],
    alternatives: tuple[str | Sequence[int], ...] = (),
    *,
    special: bool = True,
) -> Answer:
    """Return an answer's tokens after a prompt, and which of them decides.

    Prompt and answer are tokenised together. The deciding token is the first that no declared
    alternative shares, having the same tokens before it; without alternatives, the first whose
    text is not white space alone.

    Args:
        tokenizer: the model's.
        prompt: the text before the answer.
        prompt_ids: the prompt's own ids.
        text: the answer, usually with a leading space; or its token ids, which are taken as they are.
        alternatives: other answers of the same type, in the same form.
        special: whether the prompt's ids include what the tokenizer adds by itself.

    Raises:
        PromptError: the answer has no tokens, its first token would merge with the prompt's last,
            or no token tells it from an alternative.
    """
    ids = _answer_ids(tokenizer, prompt, prompt_ids, text, special)
    others = [_answer_ids(tokenizer, prompt, prompt_ids, other, special) for other in alternatives]
    tokens, named = tokenizer.tokens(ids), [_text_of(tokenizer, each) for each in (text, *alternatives)]
    return Answer(named[0], tokens, _deciding_index(tokens, named[0], list(zip(named[1:], others, strict=True))))


def _text_of(tokenizer: Tokenizer, answer: str | Sequence[int]) -> str:
    return answer if isinstance(answer, str) else "".join(token.text for token in tokenizer.tokens(tuple(answer)))


def _answer_ids(
    tokenizer: Tokenizer, prompt: str, prompt_ids: tuple[int, ...], text: str | Sequence[int], special: bool
) -> tuple[int, ...]:
    if not isinstance(text, str):
        return _given_ids(tokenizer, tuple(text))
    together = tokenizer.encode(prompt + text, special=special)
    if together[: len(prompt_ids)] != prompt_ids:
        raise _boundary_error(tokenizer, prompt, prompt_ids, text, together)
    answer = together[len(prompt_ids) :]
    if not answer:
        raise PromptError(
            f"The answer {text!r} tokenises to nothing after this prompt, so there is no token whose "
            "probability could be read. Give the answer's text, usually with a leading space."
        )
    return answer


def _given_ids(tokenizer: Tokenizer, ids: tuple[int, ...]) -> tuple[int, ...]:
    if not ids or not all(isinstance(i, int) for i in ids):
        raise PromptError(f"An answer is a text, or a list of one or more token ids; got {one_line(repr(ids), 80)}.")
    return tokenizer.known_ids(ids)


def _boundary_error(
    tokenizer: Tokenizer, prompt: str, prompt_ids: tuple[int, ...], text: str, together: tuple[int, ...]
) -> PromptError:
    """Say which token straddles the boundary, and where the space belongs."""
    pairs = zip(prompt_ids, together, strict=False)
    at = next(
        (i for i, (alone, joined) in enumerate(pairs) if alone != joined),
        min(len(prompt_ids), len(together)) - 1,
    )
    alone, joined = (visible(tokenizer.text_of(ids[min(at, len(ids) - 1)])) for ids in (prompt_ids, together))
    advice = (
        f"Move the space into the answer: prompt {prompt.rstrip()!r}, answer {' ' + text.lstrip()!r}."
        if prompt != prompt.rstrip()
        else "End the prompt where a token ends; most answers begin with a space."
    )
    return PromptError(
        f"The answer {text!r} merges with the end of the prompt: token {at} is {alone} in the prompt alone and "
        f"{joined} in prompt and answer together. Its probability after this prompt would be that of a text "
        f"which the model never writes so. {advice}"
    )


def _deciding_index(tokens: tuple[Token, ...], text: str, others: list[tuple[str, tuple[int, ...]]]) -> int:
    if not others:
        return next((i for i, token in enumerate(tokens) if token.text.strip()), 0)
    ids = tuple(token.id for token in tokens)
    for index in range(len(ids)):
        if not any(other[: index + 1] == ids[: index + 1] for _, other in others):
            return index
    same = next(name for name, other in others if other[: len(ids)] == ids)
    raise PromptError(
        f"No token tells the answer {text!r} from the alternative {same!r}, which begins with the same "
        f"{len(ids)} tokens. Leave that alternative out, or give the answer in full."
    )
