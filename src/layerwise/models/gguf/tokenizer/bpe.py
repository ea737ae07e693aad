"""Vocabularies of byte-level BPE and of its relatives that merge characters, such as Gemma 4's."""

from typing import Any

from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models.gguf.gguf_files import GgufModel
from layerwise.models.gguf.header import ArrayLength
from layerwise.models.gguf.tokenizer.characters import each
from layerwise.models.gguf.tokenizer.pre import PRE_TOKENIZERS, PreTokenizer
from layerwise.models.gguf.tokenizer.vocabulary import Vocabulary
from layerwise.models.tokenizing.tokens import byte_alphabet
from layerwise.text import counted, one_line

MERGES = "tokenizer.ggml.merges"

_FROM_ELSEWHERE = "Use the model's safetensors checkpoint from the hub instead."


def pre_tokenizer_of(vocabulary: Vocabulary, kind: str) -> PreTokenizer:
    """Return how texts are split for a vocabulary; where nothing says it, llama.cpp's default.

    Raises:
        UnsupportedModelError: the file names a way that is not known here.
    """
    name = "gemma4" if kind == "gemma4" else vocabulary.metadata.get("tokenizer.ggml.pre") or "default"
    if name not in PRE_TOKENIZERS:
        raise UnsupportedModelError(
            f"{vocabulary.source} splits texts as {one_line(str(name))!r} (tokenizer.ggml.pre), which is not known "
            f"here. Split otherwise, a prompt would be other tokens than the model was trained on. {_FROM_ELSEWHERE}"
        )
    return PRE_TOKENIZERS[name]


def build_bpe(gguf: GgufModel, vocabulary: Vocabulary, pre: PreTokenizer) -> Any:
    """Return the `tokenizers.Tokenizer` of a BPE vocabulary, still without special tokens.

    Raises:
        CorruptFileError: the merges are missing or don't fit the tokens.
        UnsupportedModelError: llama.cpp reads the vocabulary in a way that has no counterpart here.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    model = models.BPE(
        vocab=vocabulary.ids,
        merges=_merges(gguf, vocabulary),
        byte_fallback=pre.raw,
        ignore_merges=pre.whole_words_first,
    )
    tokenizer = Tokenizer(model)
    steps: list[Any] = [pre_tokenizers.Split(Regex(split), "isolated") for split in pre.splits]
    if not pre.raw:
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
    if unreadable := _unreadable(vocabulary, pre):
        steps.append(pre_tokenizers.Split(Regex(unreadable), "removed"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if pre.escapes_spaces:
        tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    if pre.raw:
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        _expect_newlines_whole(tokenizer, vocabulary)
    else:
        tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _merges(gguf: GgufModel, vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Return pairs of tokens in the order in which they are merged; of one that comes twice, the first."""
    if not isinstance(vocabulary.metadata.get(MERGES), ArrayLength):
        if vocabulary.metadata.get("tokenizer.ggml.pre") == "kimi-k2":
            return []
        raise CorruptFileError(
            f"{vocabulary.source} has no list {MERGES}, so how its tokens come about is not known. Convert the model "
            "again."
        )
    pairs: dict[tuple[str, str], None] = {}
    for merge in gguf.header.array(MERGES):
        at = str(merge).find(" ", 1)
        if at >= 0:
            pairs[merge[:at], merge[at + 1 :]] = None
    ids = vocabulary.ids
    for left, right in pairs:
        if left not in ids or right not in ids or left + right not in ids:
            raise CorruptFileError(
                f"{vocabulary.source} merges {one_line(left)!r} and {one_line(right)!r}, and not all of the two and "
                f"what they make are among its {counted(len(ids), 'token')}. Convert the model again."
            )
    return list(pairs)


def _unreadable(vocabulary: Vocabulary, pre: PreTokenizer) -> str | None:
    """Return an expression for what the vocabulary has no token for, which llama.cpp leaves out.

    What stands on both sides of it isn't merged. Most vocabularies lack bytes that were not in the texts
    they were made from: those of UTF-8's unused ones, of control characters, of characters beyond all scripts.
    """
    if not pre.raw:
        missing = {character for character in byte_alphabet() if character not in vocabulary.ids}
        if pre.whole_words_first:
            special = vocabulary.control | vocabulary.user_defined
            whole = next((t for t, i in vocabulary.ids.items() if i not in special and not missing.isdisjoint(t)), None)
            if whole is not None:
                raise UnsupportedModelError(
                    f"{vocabulary.source} has the token {one_line(whole)!r} and none for each of its bytes, which "
                    f"cannot be read here as llama.cpp does. {_FROM_ELSEWHERE}"
                )
        return f"[{each(missing)}]" if missing else None
    bytes_found = sum(f"<0x{byte:02X}>" in vocabulary.ids for byte in range(256))
    if bytes_found == 256:
        return None
    if bytes_found:
        raise UnsupportedModelError(
            f"{vocabulary.source} has tokens for {bytes_found} of 256 bytes, so of some characters llama.cpp reads a "
            f"part only. {_FROM_ELSEWHERE}"
        )
    singles = [token for token in vocabulary.ids if len(token) == 1]
    return f"[^{each(singles)}]" if singles else r"[\s\S]"


def _expect_newlines_whole(tokenizer: Any, vocabulary: Vocabulary) -> None:
    """Stop where merging doesn't give the token that a run of newlines is for llama.cpp."""
    special = vocabulary.control | vocabulary.user_defined
    runs = [t for t, i in vocabulary.ids.items() if t.strip("\n") == "" and i not in special]
    for run in runs:
        if tokenizer.encode(run, add_special_tokens=False).ids != [vocabulary.ids[run]]:
            raise UnsupportedModelError(
                f"{vocabulary.source} has a token for {counted(len(run), 'newline')} that no merging leads to, which "
                f"cannot be read here as llama.cpp does. {_FROM_ELSEWHERE}"
            )
