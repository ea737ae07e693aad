"""What a request means in a model's own tokens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from layerwise.capture.edited_generation import generate_edited
from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.own_forward import generate_greedily
from layerwise.errors import PromptError
from layerwise.interventions.changes import Change
from layerwise.interventions.written import parse
from layerwise.models.loading.loaded import LoadedModel
from layerwise.questions.answers import Answer, resolve_answer
from layerwise.tracing.directions import with_sum
from layerwise.tracing.edits import Later, OtherPrompts, plan_specs
from layerwise.tracing.positions import chosen_positions
from layerwise.tracing.prompt_tokens import PromptTokens, answer_notes, expect_text_goes_on, prompt_tokens, single_token
from layerwise.tracing.request import Answered, Request
from layerwise.types import Progress, Token


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
    notes: tuple[str, ...] = ()
    """What is probably not meant, in sentences."""
    edits: tuple[Change, ...] = ()
    """What is changed on the way up."""
    planned: tuple[Later, ...] = field(default=(), repr=False)
    """What makes the edits, until they are made."""

    @property
    def forward_pass(self) -> ForwardPass:
        """The pass that the prompt is read from."""
        return ForwardPass(self.ids, edits=self.edits)

    @property
    def positions_asked_for(self) -> tuple[int, ...]:
        """Those of the prompt that the request names, ascending."""
        return tuple(sorted({*chosen_positions(self.request.positions, len(self.ids))}))

    @property
    def scored(self) -> tuple[Answer, ...]:
        """All whose tokens are read, one after another."""
        return (*self.answers, self.wrong) if self.wrong else self.answers

    @property
    def last(self) -> int:
        return len(self.ids) - 1


def prepare(model: LoadedModel, request: Request, others: OtherPrompts | None = None) -> Prepared:
    """Return a request in the model's own tokens; nothing runs yet, so nothing is generated or edited (`make_ready`).

    Args:
        model: the model to read.
        request: what is asked.
        others: told which other prompts have to run for the edits.

    Raises:
        PromptError: the prompt is empty or too long, or an answer, tracked token or position
            cannot be used.
        EditError: an edit cannot be made in this prompt.
    """
    _expect_in_range(request)
    prompt = prompt_tokens(model.tokenizer, request)
    text, ids = prompt.text, prompt.ids
    expect_text_goes_on(model.tokenizer, prompt, request)
    answers, wrong = _resolved(model, request, prompt)
    scored = answers if wrong is None else (*answers, wrong)
    needed = len(ids) + max([request.generate, *(len(a.tokens) - 1 for a in scored)])
    if model.context_length and needed > model.context_length:
        raise PromptError(
            f"{needed:,} tokens are needed (prompt {len(ids):,}), and this model was built for "
            f"{model.context_length:,}. Beyond that its positions mean nothing. Shorten the prompt."
        )
    positions = {*chosen_positions(request.positions, len(ids)), len(ids) - 1}
    specs = [with_sum(model, parse(text)) for text in request.edits]
    request = replace(request, edits=tuple(map(str, specs)))
    planned = plan_specs(model, request, ids, specs, others or OtherPrompts(model))
    tracked = tuple(dict.fromkeys(single_token(model.tokenizer, piece) for piece in request.track))
    notes = prompt.notes + answer_notes(model.tokenizer, request)
    return Prepared(
        request, text, ids, (), tuple(sorted(positions)), answers, wrong, tracked, notes, planned=tuple(planned)
    )


def make_ready(model: LoadedModel, requests: Sequence[Request], progress: Progress | None = None) -> list[Prepared]:
    """Return requests in the model's own tokens, with their edits made of what other prompts have, and what it writes.

    Raises:
        PromptError, EditError: as `prepare`.
    """
    others = OtherPrompts(model)
    prepared = [prepare(model, request, others) for request in requests]
    others.run(progress)
    return [_ready(model, item) for item in prepared]


def _ready(model: LoadedModel, item: Prepared) -> Prepared:
    edits = tuple(make() for make in item.planned)
    count = item.request.generate
    generate = partial(generate_edited, edits=edits) if edits else generate_greedily
    generated = generate(model, item.ids, count) if count else ()
    positions = (*item.positions, *range(len(item.ids), len(item.ids) + len(generated) - 1))
    return replace(item, edits=edits, generated=generated, positions=positions, planned=())


def _expect_in_range(request: Request) -> None:
    if request.top_k < 1 or request.generate < 0 or any(not 0 < t < math.inf for t in request.temperatures):
        raise PromptError("top_k must be at least 1, generate at least 0, and temperatures greater than 0 and finite.")
    if (request.alternatives or request.wrong) and not request.answers:
        raise PromptError("Alternatives settle which token of an *answer* decides, and none was given. Add an answer.")


def _resolved(model: LoadedModel, request: Request, prompt: PromptTokens) -> tuple[tuple[Answer, ...], Answer | None]:
    """Return a request's answers in tokens, and the wrong one up to the token that tells it from them."""

    def resolved(answer: Answered, others: tuple[Answered, ...]) -> Answer:
        return resolve_answer(model.tokenizer, prompt.text, prompt.ids, answer, others, special=prompt.special)

    answers = tuple(resolved(answer, request.alternatives) for answer in request.answers)
    if not request.wrong:
        return answers, None
    wrong = resolved(request.wrong, request.answers)
    return answers, replace(wrong, tokens=wrong.tokens[: wrong.deciding_index + 1])
