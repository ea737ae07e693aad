"""Which tokens stand for a word: the first of each of its spellings."""

from collections.abc import Sequence

from layerwise.errors import QuestionError
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.text import one_line

_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_OPERATIONS = {"+": "plus", "-": "minus", "*": "times", "/": "divided"}


def ids_of(tokenizer: Tokenizer, words: Sequence[str]) -> tuple[int, ...]:
    """Return the ids that stand for any of some words: of each spelling the first token that is no space.

    With and without a space before it, because a lens may read either; numbers and operations in digits and in words.

    Raises:
        QuestionError: there is none.
    """
    found: dict[int, None] = {}
    for word in words:
        for spelt in _spelt(word.strip()):
            for form in (spelt, f" {spelt}"):
                ids = tokenizer.encode(form, special=False)
                found |= dict.fromkeys([i for i in ids if tokenizer.text_of(i).strip()][:1])
    if not found:
        raise QuestionError(f"No token of this model's stands for {one_line(repr(words[0]), 60)}.")
    return tuple(found)


def _spelt(word: str) -> tuple[str, ...]:
    if word.isdecimal() and word.isascii() and int(word) < len(_NUMBERS):
        return word, _NUMBERS[int(word)]
    if word.lower() in _NUMBERS:
        return word, str(_NUMBERS.index(word.lower()))
    return (word, _OPERATIONS[word]) if word in _OPERATIONS else (word,)
