"""Text to token ids and back, as the model's own tokenizer does it."""

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any

from layerwise.errors import PromptError
from layerwise.models.tokenizing.chat import Messages, render
from layerwise.text import harmless
from layerwise.types import Token


class Tokenizer:
    """A transformers tokenizer, with each token's own text (leading space included)."""

    def __init__(self, hf_tokenizer: Any, rows: int | None = None):
        """Wrap `hf_tokenizer` for a model whose embedding table has `rows` rows (None: don't check)."""
        self.hf = hf_tokenizer
        self.rows = rows
        self.special_ids: frozenset[int] = frozenset(hf_tokenizer.all_special_ids)
        self.end_id: int | None = hf_tokenizer.eos_token_id
        self._texts: dict[int, str] = {}
        self._anchor: tuple[int, str] | None = None

    def encode(self, text: str, *, special: bool = True) -> tuple[int, ...]:
        """Return the ids of `text`; with `special`, also what the tokenizer puts before it (BOS).

        What some tokenizers append by themselves (EOS) is left off: a prediction is read after the
        text's last token, and after an EOS there is none of this text. One that `text` spells out stays.

        Raises:
            PromptError: `text` is no valid Unicode, or has a token that the model has no embedding for.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise PromptError(
                f"The text {harmless(ascii(text))} is not valid Unicode: its character {error.start} is half of a "
                "surrogate pair, which is what bytes that are not UTF-8 turn into. A tokenizer reads whole "
                "characters only. Give the text in UTF-8."
            ) from error
        ids = self._plain_ids(text, special)
        if special and self._appended and ids[-len(self._appended) :] == self._appended:
            ids = ids[: -len(self._appended)]
        if self.rows is not None and (beyond := [i for i in ids if i >= self.rows]):
            raise PromptError(
                f"The token {harmless(str(self.hf.convert_ids_to_tokens(beyond[0])))!r} has id {beyond[0]}, and the "
                f"model has embeddings for ids below {self.rows} only. Tokens were added to the tokenizer and not to "
                "the model, or the two don't belong together. Leave the token out, or use the model's own tokenizer."
            )
        return ids

    @cached_property
    def _appended(self) -> tuple[int, ...]:
        """What the tokenizer appends to every text by itself."""
        bare, whole = self._plain_ids("a", False), self._plain_ids("a", True)
        starts = [i for i in range(len(whole)) if bare and whole[i : i + len(bare)] == bare]
        return whole[starts[0] + len(bare) :] if starts else ()

    def _plain_ids(self, text: str, special: bool) -> tuple[int, ...]:
        return tuple(self.hf(text, add_special_tokens=special, verbose=False)["input_ids"])

    def render_chat(self, prompt: str, system: str | None) -> str:
        """Return a conversation of one question, and perhaps a system message: see `render_messages`."""
        messages = [{"role": "system", "content": system}] if system is not None else []
        return self.render_messages([*messages, {"role": "user", "content": prompt}], {})

    def render_messages(self, messages: Messages, arguments: Mapping[str, Any]) -> str:
        """Return a conversation as the model's chat template writes it, ready for a reply.

        Raises:
            PromptError: there is no template, it has no such argument, or it refuses or loses some of this.
        """
        return render(self.hf, messages, arguments)

    def known_ids(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """Return the ids of a text. Raises PromptError if the model has no embedding for one of them."""
        rows = len(self.hf) if self.rows is None else self.rows
        if unknown := [i for i in ids if not 0 <= i < rows]:
            raise PromptError(
                f"{unknown[0]} is the id of no token of this model: it has embeddings for ids from 0 to {rows - 1:,}. "
                "Take the ids from this model's own tokenizer."
            )
        return ids

    def decode(self, ids: tuple[int, ...]) -> str:
        """Return the text that ids stand for, special tokens written out."""
        return self._plain(list(ids))

    def tokens(self, ids: tuple[int, ...] | list[int]) -> tuple[Token, ...]:
        """Return ids as tokens with their texts."""
        return tuple(Token(int(i), self.text_of(int(i))) for i in ids)

    def text_of(self, token_id: int) -> str:
        r"""Return one token's text as it reads in the middle of a sentence.

        Decoded after a neutral token, because SentencePiece tokenizers drop the leading space of
        whatever comes first. Bytes that are no whole UTF-8 character are written ``\xe2``.
        Ids beyond the tokenizer's vocabulary (padding rows of the unembedding) read ``<unused 42>``.
        """
        if token_id not in self._texts:
            self._texts[token_id] = self._decode(token_id)
        return self._texts[token_id]

    def _decode(self, token_id: int) -> str:
        piece = self.hf.convert_ids_to_tokens(token_id)
        if piece is None:
            return f"<unused {token_id}>"
        if self._anchor is None:
            anchor_id = self._plain_ids("a", False)[-1]
            self._anchor = (anchor_id, self._plain([anchor_id]))
        anchor_id, before = self._anchor
        both = self._plain([anchor_id, token_id])
        text = both[len(before) :] if both.startswith(before) else self._plain([token_id])
        if "\ufffd" in text or (not text and piece):
            return _bytes_of_piece(piece)
        return text

    def _plain(self, ids: list[int]) -> str:
        return self.hf.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _bytes_of_piece(piece: str) -> str:
    """Return what a piece that is only part of a character stands for: its bytes, or its own name."""
    if fallback := re.fullmatch(r"<0x([0-9A-F]{2})>", piece):  # SentencePiece's way
        return bytes([int(fallback[1], 16)]).decode("utf-8", "backslashreplace")
    byte_of = byte_alphabet()
    if all(character in byte_of for character in piece):
        return bytes(byte_of[c] for c in piece).decode("utf-8", "backslashreplace")
    return piece


@lru_cache
def byte_alphabet() -> dict[str, int]:
    """Return byte-level BPE's alphabet: the printable character that stands for each byte.

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for the
    characters from U+0100 on (Radford et al. 2019, GPT-2).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}
