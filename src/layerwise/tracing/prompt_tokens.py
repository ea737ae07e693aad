"""A request's prompt in a model's own tokens: from a text, a conversation, or ids."""

from dataclasses import asdict, dataclass

from layerwise.errors import PromptError
from layerwise.models.tokenizing.chat import writes_the_date
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.questions.unseen import unseen_notes
from layerwise.text import one_line, visible
from layerwise.tracing.request import Message, Request
from layerwise.types import Token

DATED = (
    "The model's chat template writes today's date into the conversation, so that tomorrow it is another one. Many "
    "take a date as an argument (--chat-arg date_string=…); or ask again with the token ids that this trace holds."
)


@dataclass(frozen=True)
class PromptTokens:
    """A prompt as the model reads it."""

    text: str
    """As tokenised; of ids, what they stand for."""
    ids: tuple[int, ...]
    special: bool
    """Whether the ids begin with what the tokenizer adds by itself."""
    notes: tuple[str, ...] = ()
    """Sentences on what is probably not meant, or not the same another time."""


def prompt_tokens(tokenizer: Tokenizer, request: Request) -> PromptTokens:
    """Return a request's prompt in tokens.

    Raises:
        PromptError: it is empty, or no text, conversation or list of ids, or cannot be used with this model.
    """
    prompt = request.prompt
    messages = _messages(request)
    _expect_a_conversation(request, is_one=messages is not None)
    if messages is not None:
        return _of_conversation(tokenizer, messages, request)
    if isinstance(prompt, tuple) and all(isinstance(part, int) for part in prompt):
        ids = tokenizer.known_ids(tuple(part for part in prompt if isinstance(part, int)))
        _expect_some(ids, "The list of token ids")
        return PromptTokens(tokenizer.decode(ids), ids, special=False)
    if not isinstance(prompt, str):
        raise PromptError(
            f"A prompt is a text, a list of token ids, or a list of messages with role and content; got "
            f"{_told(prompt)}. Trace several with trace_all."
        )
    _expect_some(prompt, "The prompt")
    ids = tokenizer.encode(prompt)
    if not ids:
        raise PromptError(f"The prompt {prompt!r} tokenises to nothing with this model's tokenizer.")
    return PromptTokens(prompt, ids, special=True, notes=_notes(tokenizer, [("the prompt", prompt)]))


def expect_text_goes_on(tokenizer: Tokenizer, prompt: PromptTokens, request: Request) -> None:
    """Stop where answers are texts, and the prompt's ids are others than the tokenizer writes its text with.

    Which tokens an answer has depends on those before it. After such ids, which sampling often makes, no tokenizer
    writes anything.
    """
    texts = [each for each in (*request.answers, *request.alternatives, request.wrong) if isinstance(each, str)]
    if not texts or isinstance(request.prompt, str) or not isinstance(request.prompt[0], int):
        return
    written = tokenizer.encode(prompt.text, special=False)
    if written != prompt.ids:
        at = next((i for i, pair in enumerate(zip(written, prompt.ids, strict=False)) if len({*pair}) > 1), 0)
        raise PromptError(
            f"Which tokens the answer {one_line(repr(texts[0]), 60)} has after these ids cannot be said: the "
            f"tokenizer writes their text {one_line(repr(prompt.text[-60:]), 90)} with other ids, from token {at} on, "
            "and an answer's tokens depend on those before it. Give answers and alternatives as token ids too."
        )


def answer_notes(tokenizer: Tokenizer, request: Request) -> tuple[str, ...]:
    """Return sentences on what is not seen in answers and alternatives."""
    named = [*(("the answer", each) for each in request.answers)]
    named += [("the alternative", each) for each in dict.fromkeys((*request.alternatives, request.wrong))]
    return _notes(
        tokenizer, [(f"{what} {one_line(repr(each), 60)}", each) for what, each in named if isinstance(each, str)]
    )


def _messages(request: Request) -> list[Message] | None:
    """Return the conversation that is asked for, if one is."""
    prompt = request.prompt
    if isinstance(prompt, str) and request.chat:
        _expect_some(prompt, "The prompt")
        system = [] if request.system is None else [Message("system", request.system)]
        return [*system, Message("user", prompt)]
    messages = [part for part in prompt if isinstance(part, Message)] if isinstance(prompt, tuple) else []
    return messages or None


def _expect_a_conversation(request: Request, *, is_one: bool) -> None:
    if request.system is not None and not (request.chat and isinstance(request.prompt, str)):
        where = "to its messages, as the first one" if is_one else "--chat (chat=True), or leave it out"
        raise PromptError(f"A system message belongs to a conversation: add {'it ' if is_one else ''}{where}.")
    if request.chat_args and not is_one:
        raise PromptError(
            "Arguments of the chat template belong to a conversation: add --chat (chat=True), give a list of messages, "
            "or leave them out."
        )
    if request.chat and isinstance(request.prompt, tuple) and not is_one:
        raise PromptError(
            "Token ids are read as they are, and in no chat template. Leave --chat (chat=True) out, or give a text."
        )


def _of_conversation(tokenizer: Tokenizer, messages: list[Message], request: Request) -> PromptTokens:
    for number, message in enumerate(messages, start=1):
        if not message.content.strip() and message.role != "system":  # without one, templates may write their own
            raise PromptError(f"Message {number} of the conversation ({one_line(message.role, 40)}) says nothing.")
    said = [asdict(message) for message in messages]
    text = tokenizer.render_messages(said, request.chat_args)
    ids = tokenizer.encode(text, special=False)
    if not ids:
        raise PromptError("The conversation tokenises to nothing with this model's tokenizer.")
    notes = _notes(
        tokenizer, [(f"the {one_line(message.role, 40)}'s message", message.content) for message in messages]
    )
    if writes_the_date(tokenizer.hf, said, request.chat_args):
        notes += (DATED,)
    return PromptTokens(text, ids, special=False, notes=notes)


def _notes(tokenizer: Tokenizer, parts: list[tuple[str, str]]) -> tuple[str, ...]:
    def is_read_otherwise(text: str, meant: str) -> bool:
        return tokenizer.encode(text, special=False) != tokenizer.encode(meant, special=False)

    return tuple(unseen_notes(parts, is_read_otherwise))


def _expect_some(given: str | tuple[int, ...], what: str) -> None:
    if not given:
        raise PromptError(f"{what} is empty, so there is no token whose prediction could be read. Give some text.")


def _told(prompt: object) -> str:
    inside = {type(part).__name__ for part in prompt} if isinstance(prompt, (list, tuple)) else set()
    return type(prompt).__name__ + (f" of {', '.join(sorted(inside))}" if inside else "")


def single_token(tokenizer: Tokenizer, text: str) -> Token:
    """Return the one token that `text` is, as it stands in the middle of a sentence. Raises PromptError."""
    before = tokenizer.encode("a", special=False)
    together = tokenizer.encode("a" + text, special=False)
    ids = together[len(before) :] if together[: len(before)] == before else tokenizer.encode(text, special=False)
    if len(ids) != 1:
        pieces = " ".join(visible(token.text) for token in tokenizer.tokens(ids)) or "nothing"
        raise PromptError(
            f"{text!r} is not one token here but {len(ids)} ({pieces}), and a single one is needed here. "
            "Take one of those, or to follow it ask for the whole text as an answer."
        )
    return tokenizer.tokens(ids)[0]
