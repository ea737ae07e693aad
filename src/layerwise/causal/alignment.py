"""Which positions of two prompts stand for each other."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from layerwise.errors import PromptError
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.text import visible

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """A stretch of tokens that has a name, in both prompts."""

    name: str
    clean: range
    corrupted: range


@dataclass(frozen=True)
class Alignment:
    """Pairs of positions, and where the prompts begin to differ."""

    pairs: tuple[tuple[int, int], ...]
    """(clean, corrupted), ascending; the last positions are always a pair."""
    shared: int
    """So many tokens at the beginning are the same: nothing differs there at any layer."""
    shared_end: int
    """So many at the end are the same."""
    spans: tuple[Span, ...] = ()


def align(
    tokenizer: Tokenizer, clean: Ids, corrupted: Ids, spans: Mapping[str, tuple[str, str]] | None = None
) -> Alignment:
    """Return which positions stand for each other.

    Prompts of one length are aligned token by token. Those that differ in one stretch between a common beginning and a
    common end are aligned there, and in the stretch from its last token backwards: what is read off a name is read off
    its last token (Meng et al. 2022), and what the longer one has too much stands for nothing. With spans, only these
    and what is common at both ends are aligned.

    Args:
        tokenizer: the model's.
        clean: one prompt's ids.
        corrupted: the other's.
        spans: by name, what stands in the clean prompt and what in the corrupted one, each once.

    Raises:
        PromptError: the prompts are the same, there is no common end, or a span is not there, or more than once.
    """
    if clean == corrupted:
        raise PromptError("Both prompts have the same tokens, so there is nothing to patch. Give two that differ.")
    lengths = len(clean), len(corrupted)
    before = _common(clean, corrupted)
    after = _common(clean[before:][::-1], corrupted[before:][::-1])
    named = tuple(
        Span(name, positions_of(tokenizer, clean, texts[0], name), positions_of(tokenizer, corrupted, texts[1], name))
        for name, texts in (spans or {}).items()
    )
    if lengths[0] == lengths[1] and not named:
        return Alignment(tuple((at, at) for at in range(lengths[0])), before, after)
    if not named and not after:
        raise PromptError(_not_aligned(tokenizer, clean, corrupted))
    stretches = named or (Span("", range(before, lengths[0] - after), range(before, lengths[1] - after)),)
    pairs = {(at, at) for at in range(before)} | {
        (lengths[0] - 1 - back, lengths[1] - 1 - back) for back in range(max(after, 1))
    }
    for span in stretches:
        pairs |= set(zip(reversed(span.clean), reversed(span.corrupted), strict=False))
    ordered = sorted(pairs)
    crossing = any(first[0] >= second[0] or first[1] >= second[1] for first, second in itertools.pairwise(ordered))
    if crossing:
        raise PromptError(
            "The spans are not in the same order in both prompts, or overlap: each position can stand for one only.\n"
            + _both(tokenizer, clean, corrupted)
        )
    return Alignment(tuple(ordered), before, after, named)


def _common(first: Ids, second: Ids) -> int:
    return next(
        (i for i, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]),
        min(len(first), len(second)),
    )


def positions_of(tokenizer: Tokenizer, ids: Ids, text: str, name: str = "") -> range:
    """Return the tokens that a text covers in a prompt. Raises PromptError if it is not there once."""
    ends = [len(tokenizer.decode(ids[: count + 1])) for count in range(len(ids))]
    whole, wanted = tokenizer.decode(ids), text.strip()
    found = whole.count(wanted) if wanted else 0
    if found != 1:
        called = f"the span {name!r}, " if name else ""
        raise PromptError(
            f"{text!r}, {called}stands {'nowhere' if not found else f'{found} times'} in the prompt {whole!r}. "
            "Give it as it stands there, with enough around it to occur once."
        )
    start = whole.index(wanted)
    first = next(at for at, end in enumerate(ends) if end > start)
    last = next(at for at, end in enumerate(ends) if end >= start + len(wanted))
    return range(first, last + 1)


def _not_aligned(tokenizer: Tokenizer, clean: Ids, corrupted: Ids) -> str:
    return (
        "Which tokens of the two prompts stand for each other cannot be seen: they differ in length, and at the end.\n"
        + _both(tokenizer, clean, corrupted)
        + "\nName what corresponds, as in --span subject='Germany|Great Britain', or use prompts that end alike."
    )


def _both(tokenizer: Tokenizer, clean: Ids, corrupted: Ids) -> str:
    def shown(ids: Ids) -> str:
        return " ".join(visible(token.text) for token in tokenizer.tokens(ids))

    return f"clean ({len(clean)} tokens): {shown(clean)}\ncorrupted ({len(corrupted)} tokens): {shown(corrupted)}"


def as_json(alignment: Alignment) -> dict[str, Any]:
    """Return an alignment as JSON has it."""
    return {
        "pairs": [list(pair) for pair in alignment.pairs],
        "shared": alignment.shared,
        "shared_end": alignment.shared_end,
        "spans": [
            {"name": span.name, "clean": [*span.clean], "corrupted": [*span.corrupted]} for span in alignment.spans
        ],
    }
