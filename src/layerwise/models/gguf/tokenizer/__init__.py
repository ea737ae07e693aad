"""The tokenizer of a GGUF file, built from its metadata so that it reads a text as llama.cpp does."""

from typing import Any

from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models.gguf.gguf_files import GgufModel
from layerwise.models.gguf.tokenizer.bpe import build_bpe, pre_tokenizer_of
from layerwise.models.gguf.tokenizer.keys import HARMLESS, unknown_tokenizer_keys
from layerwise.models.gguf.tokenizer.sentencepiece import build_sentencepiece
from layerwise.models.gguf.tokenizer.special import Adding, mark_special_tokens, named_tokens
from layerwise.models.gguf.tokenizer.vocabulary import read_vocabulary
from layerwise.text import harmless, one_line

__all__ = ["HARMLESS", "build_tokenizer", "unknown_tokenizer_keys"]


def build_tokenizer(gguf: GgufModel) -> Any:
    """Return a GGUF file's tokenizer as transformers' `PreTrainedTokenizerFast`, ready to be saved.

    A text gets the ids that llama.cpp 0.3.36 (of llama-cpp-python) gives it with its special tokens
    parsed and added: a text that spells out a special token is that token.

    Raises:
        CorruptFileError: parts of the tokenizer are missing or contradict each other.
        UnsupportedModelError: the tokenizer is of a kind that is not known here, is split in a way that is not
            known, has keys that nobody knows, or cannot be read exactly as llama.cpp does.
    """
    from transformers import PreTrainedTokenizerFast

    source, metadata = harmless(gguf.files[0].name), gguf.header.metadata
    if unknown := unknown_tokenizer_keys(metadata):
        raise UnsupportedModelError(
            f"{source} says something about its tokenizer that is not known here: {one_line(', '.join(unknown))}. It "
            "could change which tokens a prompt is. Use the model's safetensors checkpoint from the hub instead."
        )
    kind = metadata.get("tokenizer.ggml.model")
    if kind not in ("llama", "gpt2", "gemma4"):
        raise UnsupportedModelError(
            f"{source} has a tokenizer of the kind {one_line(str(kind))!r} (tokenizer.ggml.model); read are llama "
            "(SentencePiece), gpt2 (byte-level BPE) and gemma4. Use the model's safetensors checkpoint from the hub "
            "instead."
        )
    vocabulary = read_vocabulary(gguf)
    if kind == "llama":
        tokenizer, adding = build_sentencepiece(gguf, vocabulary), Adding(default_bos=1, default_end=2, bos=True)
    else:
        pre = pre_tokenizer_of(vocabulary, kind)
        first = 11 if kind == "gpt2" else None
        tokenizer = build_bpe(gguf, vocabulary, pre)
        adding = Adding(first if pre.has_default_bos else None, first, pre.adds_bos, always_bos=pre.always_bos)
    mark_special_tokens(tokenizer, vocabulary, gguf.header)
    adding.apply(tokenizer, vocabulary)
    template = metadata.get("tokenizer.chat_template")
    if template is not None and not isinstance(template, str):
        raise CorruptFileError(f"{source} has a tokenizer.chat_template that is no text. Download the file again.")
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template or None)
    for name, token in named_tokens(vocabulary, adding).items():
        setattr(made, name, token)  # given to the constructor, they would become special tokens
    return made
