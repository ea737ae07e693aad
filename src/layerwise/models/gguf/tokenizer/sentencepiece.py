"""Vocabularies of SentencePiece's BPE, whose tokens have scores: of two neighbours, those with the best are merged.

`tokenizers` merges by a list of pairs instead. Each way to cut a token into two is such a pair, as good
as the token's score. Where scores are equal, the pair further left in the text comes first, which no list
can say by itself; it is put in an order that amounts to the same, or the vocabulary is refused.
"""

import graphlib
import itertools
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models.gguf.gguf_files import GgufModel
from layerwise.models.gguf.header import ArrayLength
from layerwise.models.gguf.tokenizer.vocabulary import Vocabulary
from layerwise.text import counted, one_line

SCORES = "tokenizer.ggml.scores"
SPACE = "\u2581"

_FROM_ELSEWHERE = "Use the model's safetensors checkpoint from the hub instead."

_MOST_TIES = 100_000
"""Orders to respect within one score. The widest ties of real vocabularies, of runs of spaces, have some hundreds."""

Pair = tuple[str, str]


def build_sentencepiece(gguf: GgufModel, vocabulary: Vocabulary) -> Any:
    """Return the `tokenizers.Tokenizer` of a SentencePiece vocabulary, still without special tokens.

    Raises:
        CorruptFileError: scores are missing.
        UnsupportedModelError: the vocabulary cannot be read as llama.cpp does.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers

    _expect_bytes(vocabulary)
    model = models.BPE(vocab=vocabulary.ids, merges=_merges(gguf, vocabulary), byte_fallback=True)
    tokenizer = Tokenizer(model)
    escape, unescape = normalizers.Replace(" ", SPACE), decoders.Replace(SPACE, " ")
    if vocabulary.flag("add_space_prefix", True):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), escape])
        tokenizer.decoder = decoders.Sequence(
            [unescape, decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        tokenizer.normalizer = escape
        tokenizer.decoder = decoders.Sequence([unescape, decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _expect_bytes(vocabulary: Vocabulary) -> None:
    """Stop where a character could have no token at all: llama.cpp breaks off there."""
    lacking = [
        byte
        for byte in (*range(0xC0), *range(0xC2, 0xF5))  # the others are in no UTF-8
        if f"<0x{byte:02X}>" not in vocabulary.ids and not (byte < 0x80 and chr(byte) in vocabulary.ids)
    ]
    if lacking:
        raise UnsupportedModelError(
            f"{vocabulary.source} has no token for {counted(len(lacking), 'byte')}, the first of which is "
            f"<0x{lacking[0]:02X}>, so there are texts that it cannot read; llama.cpp breaks off there. "
            f"{_FROM_ELSEWHERE}"
        )


def _merges(gguf: GgufModel, vocabulary: Vocabulary) -> list[Pair]:
    """Return the pairs of tokens that make a token, the best score first."""
    by_score: dict[float, list[Pair]] = defaultdict(list)
    ids, special = vocabulary.ids, vocabulary.control | vocabulary.user_defined
    for token_id, (token, score) in enumerate(zip(vocabulary.tokens, _scores(gguf, vocabulary), strict=True)):
        if len(token) < 2 or " " in token or (token_id in special and SPACE not in token):
            continue  # never left to merging: a space is written otherwise, and special tokens are found before
        pairs, unreachable = _cuts(token, ids)
        if unreachable:
            raise UnsupportedModelError(
                f"{vocabulary.source} has the token {one_line(token)!r} and none for one of its characters, which "
                f"cannot be read here as llama.cpp does. {_FROM_ELSEWHERE}"
            )
        by_score[score] += pairs
    ordered = sorted(by_score.items(), key=lambda item: -item[0])
    return [pair for _, pairs in ordered for pair in (pairs if len(pairs) == 1 else _in_order(vocabulary, pairs))]


def _cuts(token: str, ids: Mapping[str, int]) -> tuple[list[Pair], bool]:
    """Return the pairs of tokens that make a token, and whether llama.cpp also makes it of a character without one."""
    pairs, unreachable = [], False
    for at in range(1, len(token)):
        left = token[:at]
        if left not in ids and at > 1:
            continue
        right = token[at:]
        if right in ids and left in ids:
            pairs.append((left, right))
        elif right in ids or len(right) == 1:
            unreachable = True
    return pairs, unreachable


def _scores(gguf: GgufModel, vocabulary: Vocabulary) -> list[float]:
    held = vocabulary.metadata.get(SCORES)
    scores = gguf.header.array(SCORES)[: len(vocabulary.tokens)] if isinstance(held, ArrayLength) else []
    if len(scores) < len(vocabulary.tokens) or not all(
        isinstance(score, int | float) and not math.isnan(score) for score in scores
    ):
        raise CorruptFileError(
            f"{vocabulary.source} has {counted(len(vocabulary.tokens), 'token')} and no number in {SCORES} for each, "
            "so which characters are merged first is not known. Convert the model again."
        )
    return scores


def _in_order(vocabulary: Vocabulary, pairs: list[Pair]) -> list[Pair]:
    """Return pairs of one score so that of two that overlap in a text, the left one comes first.

    In a run of one character the longer left part is further left: merging has begun there.
    """
    pairs = sorted(pairs, key=lambda pair: (-len(pair[0]), pair))
    if len({left + right for left, right in pairs}) < 2:
        return pairs
    by_left = defaultdict(list)
    for pair in pairs:
        by_left[pair[0]].append(pair)
    before: dict[Pair, set[Pair]] = {pair: set() for pair in pairs}
    overlaps = ((first, second) for first in pairs for second in by_left[first[1]] if first != second)
    for first, second in itertools.islice(overlaps, _MOST_TIES + 1):
        if not _is_run(first, second) or len(first[0]) > len(second[0]):
            before[second].add(first)
    try:
        if sum(map(len, before.values())) < _MOST_TIES:
            return list(graphlib.TopologicalSorter(before).static_order())
    except graphlib.CycleError:
        pass
    shown = " and ".join(repr(one_line("".join(pair))) for pair in (pairs[0], pairs[-1]))
    raise UnsupportedModelError(
        f"{vocabulary.source} gives the same score to tokens such as {shown}, so which is merged first depends on the "
        f"text around, which cannot be read here as llama.cpp does. {_FROM_ELSEWHERE}"
    )


def _is_run(first: Pair, second: Pair) -> bool:
    return len({*first[0], *first[1], *second[1]}) == 1
