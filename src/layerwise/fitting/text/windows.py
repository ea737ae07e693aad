"""Documents as windows of tokens: what is fitted on, in two halves, and what is held out.

A document is on one side only. Which side follows from its sum, so that neither the order of documents nor copies of
them change anything.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from layerwise.errors import TextError
from layerwise.fitting.text.documents import Document, in_order, sum_of_ids
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.text import counted
from layerwise.types import Progress

_SHORTEST = 8
"""Tokens of a window: with fewer, hardly anything stands before a position."""

_AT_MOST_HELD_OUT = 0.25
"""Of all windows, where documents are few and long."""

_TO_CHOOSE_FROM = 4
"""Documents are turned into tokens until there are so many times the windows that are wanted."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of one side, in the order in which they are used."""

    ids: Int[Tensor, "window position"]
    documents: int
    """That they were cut from."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sum(self) -> str:
        """SHA-256 over the sums of the windows' ids, in order of those sums: whatever the order of the windows."""
        return sum_of_sums(self.sums)

    @property
    def sums(self) -> list[str]:
        return [sum_of_ids(window) for window in self.ids.tolist()]

    def first(self, count: int) -> "Windows":
        return Windows(self.ids[:count], self.documents)

    def shard(self, index: int, count: int) -> "Windows":
        """Return every `count`-th window, from `index` on."""
        return Windows(self.ids[index::count], self.documents)

    def described(self) -> dict[str, Any]:
        """Return what a lens's card says of them."""
        n_windows, length = self.ids.shape
        return {"sum": self.sum, "documents": self.documents, "windows": n_windows, "tokens": n_windows * length}


@dataclass(frozen=True, eq=False)
class FitText:
    """All text of a fit."""

    halves: tuple[Windows, Windows]
    """Of other documents each: what is fitted on one is compared with what is fitted on the other."""
    held_out: Windows
    notes: tuple[str, ...] = ()
    """What users should know of how it was divided."""

    @property
    def length(self) -> int:
        return self.held_out.ids.shape[1]


@dataclass(frozen=True)
class _Cut:
    """A document's windows, as it is read."""

    sum: str
    windows: tuple[tuple[int, ...], ...]

    def between(self, start: int, stop: int) -> "_Cut":
        return _Cut(self.sum, self.windows[start:stop])


def divide(
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    *,
    length: int,
    fitted: int,
    held_out: int,
    progress: Progress | None = None,
) -> FitText:
    """Return windows of documents, those to fit on apart from those held out.

    Each window begins with what the tokenizer puts before a text (BOS), since that is how the model is used. A
    document's rest that fills no window is left out, and so are documents that fill none.

    Args:
        documents: in any order.
        tokenizer: the model's.
        length: tokens of a window, BOS among them.
        fitted: windows to fit on, both halves together; fewer where there is no more text.
        held_out: windows to hold out, likewise.
        progress: told how many documents were read.

    Raises:
        TextError: there is too little text.
    """
    if length < _SHORTEST:
        raise TextError(
            f"A window has at least {_SHORTEST} tokens, with text before the positions that are read; got {length}."
        )
    enough = _TO_CHOOSE_FROM * (fitted + held_out)
    cuts, read, longest = _read(documents, tokenizer, length, enough, progress)
    notes: list[str] = []
    aside, rest = _set_aside(cuts, held_out, length, notes) if _suffice(cuts) else ([], [])
    first, second = _halved(rest, length, notes) if rest else ([], [])
    if not (first and second and aside):
        raise _too_short(read, longest, sum(len(cut.windows) for cut in cuts), length)
    if short := read - len(cuts):
        notes.append(f"Left out: {counted(short, 'document')} of {read:,}, with fewer than {length} tokens.")
    halves = _chosen(first, (fitted + 1) // 2), _chosen(second, (fitted + 1) // 2)
    return FitText(halves, _chosen(aside, held_out), tuple(notes))


def windows_of(
    documents: Sequence[Document], tokenizer: Tokenizer, *, length: int, count: int, progress: Progress | None = None
) -> Windows:
    """Return at most so many windows, drawn from many documents: text to look at a lens with, none to fit on.

    Raises:
        TextError: no document fills a window.
    """
    cuts, read, longest = _read(documents, tokenizer, length, _TO_CHOOSE_FROM * count, progress)
    if not cuts:
        raise TextError(
            f"There is too little text: of {counted(read, 'document')} the longest has "
            f"{counted(longest, 'token')}, and a window {length}. Give longer ones, or leave --text out: then the "
            "model writes the text."
        )
    return _chosen(cuts, count)


def sum_of_sums(sums: Sequence[str]) -> str:
    """Return the SHA-256 over some sums in order of size."""
    return hashlib.sha256("".join(sorted(sums)).encode()).hexdigest()


def beginning(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Return what a tokenizer puts before every text by itself: BOS, or nothing."""
    whole, bare = tokenizer.encode("a"), tokenizer.encode("a", special=False)
    return whole[: len(whole) - len(bare)]


def _read(
    documents: Sequence[Document],
    tokenizer: Tokenizer,
    length: int,
    enough: int | None = None,
    progress: Progress | None = None,
) -> tuple[list[_Cut], int, int]:
    """Return the documents that fill windows, until those are `enough`; how many were read; the longest's tokens."""
    cuts, read, longest, found = list[_Cut](), 0, 0, 0
    for read, each in enumerate(in_order(documents), start=1):  # how many were read is told
        cut, tokens = _cut(each, tokenizer, length)
        longest, found = max(longest, tokens), found + len(cut.windows)
        if cut.windows:
            cuts.append(cut)
        if progress:
            progress("reading the text", read, len(documents))
        if enough is not None and found >= enough:
            break
    return cuts, read, longest


def _cut(each: Document, tokenizer: Tokenizer, length: int) -> tuple[_Cut, int]:
    """Return a document's windows, and how many tokens it has."""
    before = beginning(tokenizer)
    ids = tokenizer.encode(each.content, special=False) if isinstance(each.content, str) else each.content
    step = length - len(before)
    starts = range(0, len(ids) - step + 1, step)
    return _Cut(each.sum, tuple((*before, *ids[start : start + step]) for start in starts)), len(ids) + len(before)


def _suffice(cuts: list[_Cut]) -> bool:
    """Return whether there can be two halves and something held out, with a gap where a document is divided."""
    gaps = {0: 0, 1: 2, 2: 1}.get(len(cuts), 0)
    return sum(len(cut.windows) for cut in cuts) >= 3 + gaps


def _set_aside(cuts: list[_Cut], wanted: int, length: int, notes: list[str]) -> tuple[list[_Cut], list[_Cut]]:
    """Return what is held out, and the rest. Whole documents, unless there is one only.

    A tenth is held out, for the windows that are read to come from many documents.
    """
    total = sum(len(cut.windows) for cut in cuts)
    most = max(1, int(total * _AT_MOST_HELD_OUT))
    if len(cuts) == 1:
        notes.append(
            "All text is one document. Its end is held out, after a gap of one window: its subject and words are those "
            "of what is fitted on, so figures on it are better than on other text."
        )
        [whole] = cuts
        start = total - min(wanted, most)
        return [whole.between(start, total)], [whole.between(0, start - 1)]
    aside: list[_Cut] = []
    held, enough = 0, max(wanted, total // 10)
    for cut in cuts:
        if held < enough and held + len(cut.windows) <= most:
            aside.append(cut)
            held += len(cut.windows)
    aside = aside or [min(cuts, key=lambda cut: (len(cut.windows), cut.sum))]
    names = {cut.sum for cut in aside}
    return aside, [cut for cut in cuts if cut.sum not in names]


def _halved(cuts: list[_Cut], length: int, notes: list[str]) -> tuple[list[_Cut], list[_Cut]]:
    """Return two halves of about as many windows, of documents of their own."""
    if len(cuts) == 1:
        notes.append(
            "Both halves come from one document, with a gap of one window, so they agree more than on other text."
        )
        middle = len(cuts[0].windows) // 2
        return [cuts[0].between(0, middle)], [cuts[0].between(middle + 1, len(cuts[0].windows))]
    halves: tuple[list[_Cut], list[_Cut]] = ([], [])
    sizes = [0, 0]
    for cut in cuts:
        smaller = sizes.index(min(sizes))
        halves[smaller].append(cut)
        sizes[smaller] += len(cut.windows)
    return halves


def _chosen(cuts: list[_Cut], wanted: int) -> Windows:
    """Return so many windows of some documents, drawn from all of them by the windows' own sums."""
    drawn = sorted((sum_of_ids(window), cut.sum, window) for cut in cuts for window in cut.windows)[:wanted]
    return Windows(torch.tensor([window for *_, window in drawn]), len({name for _, name, _ in drawn}))


def _too_short(read: int, longest: int, windows: int, length: int) -> TextError:
    return TextError(
        f"There is too little text: {counted(read, 'document')}, the longest of {counted(longest, 'token')}, fill "
        f"{counted(windows, 'window')} of {length} tokens. At least 3 are needed ({3 * length:,} tokens), two to fit "
        f"on and one held out, and {5 * length:,} tokens where all is one document; a good lens needs a hundred. Give "
        "more text, a smaller --length, or let the model write it: --self-text."
    )
