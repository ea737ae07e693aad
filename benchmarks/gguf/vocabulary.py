"""A byte-level BPE vocabulary that transformers, the file and llama.cpp share, and a text in it."""

from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

MERGES = ["t h", "th e", "i n", "a n", "e r", "Ġ the"]
"""Enough for a file that has merges at all."""

VOCABULARY = [
    "<pad>",
    "<eos>",
    *sorted(pre_tokenizers.ByteLevel.alphabet()),
    *(merge.replace(" ", "") for merge in MERGES),
]
"""264 tokens: a multiple of 8, to which the converter fills up some vocabularies."""

PAD, EOS = 0, 1

_SENTENCES = """
The capital of Germany is Berlin, and in winter the rivers there freeze over from one bank to the other.
A language model predicts the next token from all the tokens that came before it: 2 + 2 = 4, 17 * 3 = 51.
Once upon a time a king lived in a castle above the water; his daughter was wise, "wiser than ten judges".
Zebras, quails & jackals vex the box-keeper (who thinks otherwise). Ünïcödé is written in more than one byte.
In another country another king asked the same question, and then the answer was neither yes nor no.
Every line of this text is here so that it is long enough, and so that no part of it is the same as another.
Printing was invented in Mainz around 1450; the first books were made by hand, letter by letter, line by line.
"""


@cache
def tokenizer() -> Any:
    """Return the tokenizer as transformers has it."""
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(
        models.BPE(
            {token: index for index, token in enumerate(VOCABULARY)},
            [(left, right) for left, right in map(str.split, MERGES)],
        )
    )
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")


@cache
def text(n_tokens: int) -> str:
    """Return a text of so many tokens."""
    ids = tokenizer()(_SENTENCES.strip())["input_ids"][:n_tokens]
    assert len(ids) == n_tokens
    words = tokenizer().decode(ids)
    assert token_ids(words) == ids, "the text was cut inside a token"
    return words


def token_ids(words: str) -> list[int]:
    """Return the text's tokens, without any put before or after."""
    return tokenizer()(words)["input_ids"]
