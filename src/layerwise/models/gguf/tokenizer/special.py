"""Special tokens: found in a text before anything else, and put before it and after it."""

from dataclasses import dataclass
from typing import Any

from layerwise.errors import UnsupportedModelError
from layerwise.models.gguf.header import GgufHeader
from layerwise.models.gguf.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True)
class Adding:
    """What is put before and after every text, as far as the file doesn't say otherwise."""

    default_bos: int | None
    default_end: int | None
    bos: bool
    always_bos: bool = False
    """Whether BOS is added even where the file says no."""

    def apply(self, tokenizer: Any, vocabulary: Vocabulary) -> None:
        """Let a `tokenizers.Tokenizer` add what its file asks for.

        Raises:
            CorruptFileError: the file asks in a way that cannot be read.
            UnsupportedModelError: it asks for a token and doesn't say which.
        """
        from tokenizers import processors

        parts, known = ["$A"], []
        wanted = {"bos": vocabulary.flag("add_bos_token", self.bos) or self.always_bos}
        wanted["eos"] = vocabulary.flag("add_eos_token", False)
        for name, default in (("bos", self.default_bos), ("eos", self.default_end)):
            if not wanted[name]:
                continue
            token_id = vocabulary.token_id(name, default)
            if token_id is None:
                raise UnsupportedModelError(
                    f"{vocabulary.source} puts a token at every text's {'beginning' if name == 'bos' else 'end'} and "
                    f"doesn't say which: it has no tokenizer.ggml.{name}_token_id. Convert the model again."
                )
            parts.insert(0 if name == "bos" else len(parts), name)
            known.append({"id": name, "ids": [token_id], "tokens": [vocabulary.tokens[token_id]]})
        tokenizer.post_processor = processors.TemplateProcessing(single=parts, special_tokens=known)


def mark_special_tokens(tokenizer: Any, vocabulary: Vocabulary, header: GgufHeader) -> None:
    """Let a `tokenizers.Tokenizer` find tokens of control and user-defined ones wherever a text spells them out."""
    from tokenizers import AddedToken

    before, after = _takes_spaces(vocabulary, header)
    for ids, special in ((vocabulary.control, True), (vocabulary.user_defined, False)):
        tokens = [
            AddedToken(vocabulary.tokens[i], lstrip=i in before, rstrip=i in after, normalized=False, special=special)
            for i in sorted(ids)
        ]
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)(tokens)


def _takes_spaces(vocabulary: Vocabulary, header: GgufHeader) -> tuple[set[int], set[int]]:
    """Return which tokens swallow white space before them, and which after them: llama.cpp goes by names."""
    ids = vocabulary.ids
    name = str(header.metadata.get("general.name", "")).lower()
    pre = str(header.metadata.get("tokenizer.ggml.pre", ""))
    if any(part in pre for part in ("jina-v2-de", "jina-v2-es", "jina-v2-code")):
        return {ids[text] for text in ("<mask>",) if text in ids}, set()
    if "phi-3" in name or "phi3" in name:
        plain = {ids[text] for text in ("<unk>", "<s>", "<|endoftext|>") if text in ids}
        return set(), set(vocabulary.control | vocabulary.user_defined) - plain
    if "modern-bert" in name:
        return {ids[text] for text in ("[MASK]",) if text in ids}, set()
    return set(), set()


def named_tokens(vocabulary: Vocabulary, adding: Adding) -> dict[str, str]:
    """Return transformers' names for a file's special tokens with their texts.

    A default counts only where the token is one of control: the numbers are those of Llama and Falcon.
    """
    named: dict[str, str] = {}
    defaults = {"bos": adding.default_bos, "eos": adding.default_end}
    for purpose, name in (
        ("bos", "bos_token"),
        ("eos", "eos_token"),
        ("unknown", "unk_token"),
        ("padding", "pad_token"),
        ("mask", "mask_token"),
    ):
        token_id = vocabulary.token_id(purpose)
        if token_id is None and vocabulary.token_id(purpose, defaults.get(purpose)) in vocabulary.control:
            token_id = vocabulary.token_id(purpose, defaults.get(purpose))
        if token_id is not None:
            named[name] = vocabulary.tokens[token_id]
    return named
