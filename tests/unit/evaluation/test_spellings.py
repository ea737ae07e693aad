"""Which tokens stand for a word."""

import pytest

from layerwise.errors import QuestionError
from layerwise.evaluation.spellings import ids_of


class Words:
    """A tokenizer that gives each character of a number, each space before one, and each word a token."""

    def __init__(self):
        self.texts: list[str] = []

    def encode(self, text, *, special):
        assert not special
        pieces = [" ", *text.strip()] if text.strip().isdecimal() and text[0] == " " else [text]
        return [self._id(piece) for piece in pieces]

    def text_of(self, i):
        return self.texts[i]

    def _id(self, piece):
        if piece not in self.texts:
            self.texts.append(piece)
        return self.texts.index(piece)


@pytest.mark.parametrize(
    ("words", "spelt"),
    [
        (["France"], {"France", " France"}),
        (["big", "large"], {"big", " big", "large", " large"}),
        (["5"], {"5", "five", " five"}),  # the space that stands apart says nothing
        (["five"], {"five", " five", "5"}),
        (["-"], {"-", " -", "minus", " minus"}),
        (["42"], {"42", "4"}),
    ],
)
def test_the_first_token_that_is_no_space_stands_for_each_spelling(words, spelt):
    tokenizer = Words()
    assert {tokenizer.text_of(i) for i in ids_of(tokenizer, words)} == spelt  # pyright: ignore[reportArgumentType]


def test_a_word_without_tokens_is_refused():
    class Nothing(Words):
        def encode(self, text, *, special):
            return []

    with pytest.raises(QuestionError, match="No token"):
        ids_of(Nothing(), ["France"])  # pyright: ignore[reportArgumentType]
