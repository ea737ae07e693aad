"""The tokens of a GGUF file, what kind each is, and which ones stand for a beginning, an end and so on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models.gguf.gguf_files import GgufModel
from layerwise.models.gguf.header import ArrayLength
from layerwise.text import counted, harmless, one_line

_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
"""Types of tokens as GGUF numbers them. The others (normal, unused, byte) are reached through merging alone."""

_ENDS = (
    "<|eot_id|> <|im_end|> <|end|> <|return|> <|call|> <|flush|> <|calls|> <end_of_turn> <|endoftext|> </s> <|eom_id|> "
    "<EOT> _<EOT> [EOT] [EOS] <|end_of_text|> <end_of_utterance> <eos> <turn|> <|tool_response> "
    "<\uff5cend\u2581of\u2581sentence\uff5c> [e~["
)
"""Texts that make a token one of control for llama.cpp, whatever the file says of it."""

_ALWAYS_SHOWN = "<|channel|> <|message|> <|start|> <|constrain|>"
"""Texts that make a token a user-defined one for llama.cpp (gpt-oss)."""

_FILL_IN = {
    "fim_pre prefix": "<|fim_prefix|> <fim-prefix> <fim_prefix> <\uff5cfim\u2581begin\uff5c> <PRE> \u2581<PRE> "
    "<|code_prefix|> <|prefix|>",
    "fim_suf suffix": "<|fim_suffix|> <fim-suffix> <fim_suffix> <\uff5cfim\u2581hole\uff5c> <SUF> \u2581<SUF> "
    "<|code_suffix|> <|suffix|>",
    "fim_mid middle": "<|fim_middle|> <fim-middle> <fim_middle> <\uff5cfim\u2581end\uff5c> <MID> \u2581<MID> "
    "<|code_middle|> <|middle|>",
    "fim_pad": "<|fim_pad|> <fim-pad> <fim_pad> <PAD> [PAD]",
    "fim_rep": "<|fim_repo|> <|repo_name|> <fim-repo> <REPO> <reponame>",
    "fim_sep": "<|file_sep|>",
}
"""Texts by which llama.cpp finds a token for filling in code where no key names it, which makes it one of control."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a file, and what it says about them."""

    source: str
    """The file's name, for messages."""
    metadata: Mapping[str, Any]
    tokens: list[str]
    """By id; one without a text has a made-up one."""
    ids: dict[str, int]
    control: frozenset[int]
    """Tokens that a text can spell out and that stand for no text: beginnings, ends, turns, the unknown token."""
    user_defined: frozenset[int]
    """Tokens for a text of their own, found before anything else is split."""

    def flag(self, name: str, default: bool) -> bool:
        """Return a switch of the file, such as ``add_bos_token``.

        Raises:
            CorruptFileError: it is neither true nor false.
        """
        value = self.metadata.get(f"tokenizer.ggml.{name}", default)
        if not isinstance(value, bool):
            raise CorruptFileError(
                f"{self.source} has tokenizer.ggml.{name} = {one_line(str(value))}, expected true or false. Whether a "
                "token is added changes every number. Download the file again, or convert the model again."
            )
        return value

    def token_id(self, name: str, default: int | None = None) -> int | None:
        """Return which token has a purpose, such as ``bos``; the default where the file names none that exists.

        Raises:
            CorruptFileError: what it names is no number.
        """
        named = self.metadata.get(f"tokenizer.ggml.{name}_token_id", default)
        if named is not None and (type(named) is not int or isinstance(named, ArrayLength)):
            raise CorruptFileError(
                f"{self.source} has tokenizer.ggml.{name}_token_id = {one_line(str(named))}, expected a token's "
                "number. Download the file again, or convert the model again."
            )
        exists = [number for number in (named, default) if number is not None and 0 <= number < len(self.tokens)]
        return exists[0] if exists else None


def read_vocabulary(gguf: GgufModel) -> Vocabulary:
    """Return a GGUF file's tokens with their kinds as llama.cpp sees them, which corrects some by their texts.

    Raises:
        CorruptFileError: tokens or their types are missing or contradict each other.
        UnsupportedModelError: which tokens are special depends on the order in which llama.cpp looks.
    """
    source, metadata = harmless(gguf.files[0].name), gguf.header.metadata
    # llama.cpp reads texts up to their first NUL, and gives those without a text one of their own.
    tokens = [token.partition("\0")[0] or f"[EMPTY_{i}]" for i, token in enumerate(_array(gguf, "tokens", str))]
    ids = {token: i for i, token in enumerate(tokens)}
    if len(ids) != len(tokens):
        twice = next(token for i, token in enumerate(tokens) if ids[token] != i)
        raise CorruptFileError(
            f"{source} has the token {one_line(twice)!r} twice, so a text has two readings. llama.cpp refuses such a "
            "file too. Convert the model again."
        )
    types = _array(gguf, "token_type", int) if "tokenizer.ggml.token_type" in metadata else [1] * len(tokens)
    if len(types) < len(tokens):
        raise CorruptFileError(
            f"{source} has {counted(len(tokens), 'token')} and types for {len(types):,} of them. Download it again."
        )
    listed = Vocabulary(
        source,
        metadata,
        tokens,
        ids,
        control=frozenset(i for i, kind in enumerate(types[: len(tokens)]) if kind in (_UNKNOWN, _CONTROL)),
        user_defined=frozenset(i for i, kind in enumerate(types[: len(tokens)]) if kind == _USER_DEFINED),
    )
    return _corrected(listed)


def _array(gguf: GgufModel, name: str, kind: type) -> list[Any]:
    key = f"tokenizer.ggml.{name}"
    if not isinstance(gguf.header.metadata.get(key), ArrayLength):
        raise CorruptFileError(f"{harmless(gguf.files[0].name)} has no list {key}, so its tokens are not known.")
    values = gguf.header.array(key)
    if values and not isinstance(values[0], kind):
        raise CorruptFileError(
            f"{harmless(gguf.files[0].name)} has {key} with entries such as {one_line(str(values[0]))}, expected "
            f"{'texts' if kind is str else 'whole numbers'}. Download it again, or convert the model again."
        )
    return values


def _corrected(listed: Vocabulary) -> Vocabulary:
    """Return a vocabulary with the kinds that llama.cpp changes by a token's text."""
    ids, control, user_defined = listed.ids, set(listed.control), set(listed.user_defined)
    control |= {ids[text] for text in _ENDS.split() if text in ids}
    for purposes, texts in _FILL_IN.items():
        control |= _found_by_text(listed, purposes.split(), texts.split())
    shown = {ids[text] for text in _ALWAYS_SHOWN.split() if text in ids}
    control -= shown
    user_defined = (user_defined | shown) - control
    end, eos = ids.get("</s>"), listed.token_id("eos")
    if end is not None and ("<|tool_response>" in ids or (eos is not None and listed.tokens[eos] == "<|plamo:eos|>")):
        control.discard(end)  # a tag like any other in Gemma 4 and PLaMo
        user_defined.discard(end)
    return Vocabulary(listed.source, listed.metadata, listed.tokens, ids, frozenset(control), frozenset(user_defined))


def _found_by_text(listed: Vocabulary, purposes: list[str], texts: list[str]) -> set[int]:
    """Return the token that llama.cpp takes for a purpose by its text, if no key names one.

    Of several it takes whichever its hash table has first, which only matters if one of them is a normal token.
    """
    present = {listed.ids[text] for text in texts if text in listed.ids}
    normal = present - listed.control - listed.user_defined
    if any(listed.token_id(purpose) is not None for purpose in purposes) or not normal:
        return set()
    if len(present) > 1:
        shown = " and ".join(one_line(listed.tokens[i]) for i in sorted(present))
        raise UnsupportedModelError(
            f"{listed.source} has the tokens {shown}, of which llama.cpp makes one a special token and leaves it to "
            f"chance which. Convert the model again with tokenizer.ggml.{purposes[0]}_token_id."
        )
    return normal
