"""Prompts with unspoken intermediates: what a model must have in mind to go on, and neither reads nor says.

The form is the one in which such sets are published (``lens-eval-multihop.json`` and others of the jlens package):
``{"items": [{"name", "prompt", "target", "intermediates"}, …]}``. Our own set has in addition what each intermediate
can be asked for by (``asked``), so that what a model does not know is told from what a lens does not see.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from layerwise.errors import QuestionError
from layerwise.text import harmless, one_line
from layerwise.tracing.request import Prompt, as_prompt

OWN = "unspoken.json"
_PUBLISHED = re.compile(r"lens-eval-(.+)")
"""File names of published sets, each of one category."""


@dataclass(frozen=True)
class Asked:
    """A prompt that asks for an intermediate outright."""

    prompt: str
    answer: str


@dataclass(frozen=True)
class Item:
    """A prompt with what is in mind at its end."""

    name: str
    category: str
    prompt: Prompt
    """A text or a conversation, up to where it is read."""
    intermediates: tuple[str, ...]
    """Words, each of which counts."""
    target: str | None = None
    """What the prompt goes on with; it is not scored."""
    accepted: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    """Of an intermediate, other words that count as it."""
    asked: tuple[Asked, ...] = ()
    """Empty in published sets: then nothing is known of what the model knows."""

    @property
    def words(self) -> list[tuple[str, ...]]:
        """The intermediates, each with what is accepted for it."""
        return [(word, *self.accepted.get(word, ())) for word in self.intermediates]

    def asked_for(self) -> Iterator[tuple[int, Asked]]:
        """Go through what asks for an intermediate, with the intermediate's index."""
        for each in self.asked:
            spelt = each.answer.strip().casefold()
            yield next(at for at, word in enumerate(self.words) if spelt in map(str.casefold, word)), each


@dataclass(frozen=True)
class ItemSet:
    """Items, and which they are."""

    name: str
    """Of their file."""
    items: tuple[Item, ...]


def chosen_items(path: Path | None) -> ItemSet:
    """Return the items of a file; the set that comes with layerwise where none is named.

    Raises:
        QuestionError: it cannot be read.
    """
    return ItemSet(OWN, own_items()) if path is None else ItemSet(path.name, read_items(path))


def own_items() -> tuple[Item, ...]:
    """Return the set that comes with layerwise."""
    return read_items(Path(str(files("layerwise.evaluation") / "data" / OWN)))


def read_items(path: Path) -> tuple[Item, ...]:
    """Return the items of a file.

    Raises:
        QuestionError: it cannot be read, or an item lacks something; says which.
    """
    shown = harmless(str(path))
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise QuestionError(f"{shown} cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise QuestionError(f"{shown} is no JSON: {harmless(one_line(str(error)))}.") from error
    entries = data.get("items") if isinstance(data, dict) else data
    if not isinstance(entries, list) or not entries:
        raise QuestionError(
            f'{shown} holds no items. Expected {{"items": [{{"name", "prompt", "target", "intermediates"}}, …]}}, the '
            "form in which sets of unspoken intermediates are published."
        )
    found = _PUBLISHED.fullmatch(path.stem)
    category = found[1] if found else path.stem
    items = tuple(_item(entry, number, category, shown) for number, entry in enumerate(entries, start=1))
    name, count = Counter(item.name for item in items).most_common(1)[0]
    if count > 1:
        raise QuestionError(f"{shown} has {count} items called {one_line(repr(name), 60)}; figures go by their names.")
    return items


def _item(entry: Any, number: int, category: str, shown: str) -> Item:
    def expect(condition: object, what: str) -> None:
        if not condition:
            name = entry.get("name") if isinstance(entry, dict) else None
            called = f" ({one_line(repr(name), 60)})" if name else ""
            raise QuestionError(f"{shown}, item {number}{called}: {what}.")

    expect(isinstance(entry, dict), "expected an object with name, prompt, target and intermediates")
    prompt, target = entry.get("prompt"), entry.get("target")
    expect(isinstance(prompt, str | list) and prompt, "prompt should be a text, or a list of messages")
    expect(target is None or isinstance(target, str), "target should be a text, or left out")
    words = entry.get("intermediates")
    expect(_are_words(words), "intermediates should be a list of words, at least one")
    accepted = entry.get("accepted", {})
    expect(
        isinstance(accepted, dict) and set(accepted) <= set(words) and all(map(_are_words, accepted.values())),
        "accepted should give lists of words for some of the intermediates",
    )
    asked = entry.get("asked", [])
    expect(
        isinstance(asked, list)
        and all(isinstance(each, dict) and _are_words([each.get("prompt"), each.get("answer")]) for each in asked),
        "asked should be a list of objects with prompt and answer",
    )
    spelt = {each.strip().casefold() for each in (*words, *(other for some in accepted.values() for other in some))}
    expect(
        all(each["answer"].strip().casefold() in spelt for each in asked),
        "what is asked for should be one of the intermediates, or accepted for one",
    )
    kind = str(entry.get("category", category))
    return Item(
        name=str(entry.get("name", number)),
        category=kind,
        prompt=_where_it_is_read(as_prompt(prompt), target, kind),
        target=target,
        intermediates=tuple(word.strip() for word in words),
        accepted={word.strip(): tuple(other.strip() for other in others) for word, others in accepted.items()},
        asked=tuple(Asked(each["prompt"], each["answer"]) for each in asked),
    )


def _are_words(words: Any) -> bool:
    return isinstance(words, list) and bool(words) and all(isinstance(word, str) and word.strip() for word in words)


def _where_it_is_read(prompt: Prompt, target: str | None, category: str) -> Prompt:
    """Return a prompt up to where it is read: before its target, and of a couplet the end of the first line."""
    if not isinstance(prompt, str):
        return prompt
    if category == "poetry" and "\n" in prompt:
        return prompt[: prompt.rindex("\n") + 1]
    if target and target.strip() and prompt.rstrip().endswith(target.strip()):
        return prompt.rstrip().removesuffix(target.strip()).rstrip()
    return prompt


def categories(items: Sequence[Item]) -> list[str]:
    """Return the items' categories, in the order in which they come."""
    return list(dict.fromkeys(item.category for item in items))
