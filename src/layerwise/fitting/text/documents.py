"""Documents: texts, or token ids, that stay whole when what is fitted on is kept apart from what is held out."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Document:
    """One text, or the token ids of one."""

    content: str | tuple[int, ...]
    sum: str
    """SHA-256 of it: what decides where it goes, so that the order of files changes nothing."""


def document(content: str | Sequence[int]) -> Document:
    """Return a text, or token ids, as a document. White space around a text is no part of it."""
    if isinstance(content, str):
        text = content.strip()
        return Document(text, hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest())
    ids = tuple(int(i) for i in content)
    return Document(ids, sum_of_ids(ids))


def in_order(documents: Iterable[Document]) -> list[Document]:
    """Return documents in the order of their sums, each once: a copy of one held out must not be fitted on."""
    once = {each.sum: each for each in documents if each.content}
    return [once[key] for key in sorted(once)]


def sum_of_ids(ids: Sequence[int]) -> str:
    """Return the SHA-256 of token ids, written as little-endian 64-bit numbers."""
    return hashlib.sha256(np.asarray(ids, dtype="<i8").tobytes()).hexdigest()
