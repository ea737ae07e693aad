"""Text that the model writes itself, so that nothing need be found or fetched to fit a lens on."""

from collections.abc import Callable, Sequence
from time import perf_counter

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.capture.model_call import run_model
from layerwise.capture.own_forward import end_ids
from layerwise.errors import TextError
from layerwise.fitting.estimate import duration
from layerwise.fitting.text.documents import Document, document
from layerwise.fitting.text.windows import beginning
from layerwise.models.loading.loaded import LoadedModel
from layerwise.types import Progress

_GROUP = 512
"""Tokens of the vocabulary that are summed up first, when one is drawn."""
_AT_ONCE = 64
"""Documents that are written side by side: each step reads all weights, whatever their number."""


def given_or_written(
    model: LoadedModel,
    given: Sequence[Document | str] | None,
    count: int,
    length: int,
    *,
    seed: int,
    progress: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[Document]:
    """Return the documents that are given; where there are none given, what the model writes (`write_documents`)."""
    if given is None:
        written = write_documents(model, count, length, seed=seed, progress=progress, on_note=on_note)
        return [document(ids) for ids in written]
    return [each if isinstance(each, Document) else document(each) for each in given]


@torch.no_grad()
def write_documents(
    model: LoadedModel,
    count: int,
    length: int,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> list[tuple[int, ...]]:
    """Return documents as token ids, each drawn token by token from what the model predicts (temperature 1).

    They begin after BOS, or where a tokenizer has none after the end of a text. No document ends: tokens that would
    end it are never drawn. What stands before each text (`beginning`) is left off.

    Args:
        model: what writes.
        count: documents.
        length: tokens of each, what stands before it among them.
        seed: of the draw.
        progress: told how many tokens were written.
        on_note: told how long it takes, after its first second.

    Raises:
        TextError: the tokenizer has no token that a text begins after.
    """
    before = beginning(model.tokenizer) or _first_token(model)
    written = length - len(beginning(model.tokenizer))
    draw = torch.Generator().manual_seed(seed)
    documents: list[tuple[int, ...]] = []
    told = _Told(count * written, -(-count // _AT_ONCE) * written, on_note)
    for start in range(0, count, _AT_ONCE):
        n_here = min(_AT_ONCE, count - start)

        def tell(step: int, start: int = start, n_here: int = n_here) -> None:
            told.step()
            if progress:
                progress("the model writes text", start * written + step * n_here, count * written)

        ids = _continued(model, torch.tensor([before] * n_here, device=model.device), written, draw, tell)
        documents += [tuple(row) for row in ids[:, len(before) :].tolist()]
    return documents


class _Told:
    """Tells how long the writing takes, once: when the first second after the first step is over."""

    def __init__(self, tokens: int, steps: int, on_note: Callable[[str], None] | None) -> None:
        self._tokens, self._steps, self._on_note = tokens, steps, on_note
        self._done, self._began = 0, 0.0

    def step(self) -> None:
        self._done += 1
        if self._done == 1:
            self._began = perf_counter()
        elif self._on_note and (passed := perf_counter() - self._began) > 1:
            cost = passed / (self._done - 1) * (self._steps - 1)
            self._on_note(f"The model writes its text first: {self._tokens:,} tokens, about {duration(cost)}.")
            self._on_note = None


def _continued(
    model: LoadedModel,
    ids: Int[Tensor, "document position"],
    count: int,
    draw: torch.Generator,
    tell: Callable[[int], None],
) -> Int[Tensor, "document position"]:
    """Return ids with so many more."""
    barred = [i for i in end_ids(model) if i is not None]
    cache, step = None, ids
    for done in range(count):
        if model.rope_of(ids.shape[1]) != model.rope_of(ids.shape[1] - 1):
            cache, step = None, ids  # its keys were turned by other frequencies
        with model.residency.attached():
            logits, cache = run_model(model, step, use_cache=True, cache=cache)
        drawn = _drawn(logits, barred, draw)
        ids = torch.cat([ids, drawn], dim=1)
        step = drawn if cache is not None else ids
        tell(done + 1)
    return ids


def _drawn(
    logits: Float[Tensor, "document token"], barred: list[int], draw: torch.Generator
) -> Int[Tensor, "document 1"]:
    """Return a token of each document, drawn by the softmax of its logits.

    First the group of tokens is drawn, then the token in it: each where summed weights first exceed a number. Running
    sums over the whole vocabulary have to be made in double precision, and take twice as long; `torch.multinomial`
    draws a number for each token.
    """
    logits = logits.float()
    logits[:, barred] = -torch.inf
    groups = _weights(logits).unfold(1, _GROUP, _GROUP)
    group = _first_above(groups.sum(-1), draw)
    within = groups.gather(1, group[:, :, None].expand(-1, -1, _GROUP))[:, 0]
    return group * _GROUP + _first_above(within, draw)


def _weights(logits: Float[Tensor, "document token"]) -> Float[Tensor, "document padded_token"]:
    """Return the softmax of logits but for a factor, with weights of zero until it falls into groups."""
    wanted = -(-logits.shape[1] // _GROUP) * _GROUP
    weights = logits.new_zeros(len(logits), wanted)
    torch.exp(logits - logits.amax(-1, keepdim=True), out=weights[:, : logits.shape[1]])
    return weights


def _first_above(weights: Float[Tensor, "document choice"], draw: torch.Generator) -> Int[Tensor, "document 1"]:
    """Return of each document a choice, as likely as its weight says."""
    below = weights.cpu().double().cumsum(-1)
    drawn = torch.rand(len(below), 1, generator=draw, dtype=torch.float64) * below[:, -1:]
    return torch.searchsorted(below, drawn, right=True).clamp_max(below.shape[1] - 1).to(weights.device)


def _first_token(model: LoadedModel) -> tuple[int, ...]:
    hf = model.tokenizer.hf
    first = hf.bos_token_id if hf.bos_token_id is not None else hf.eos_token_id
    if first is None:
        raise TextError(
            f"{model.name} cannot write text by itself: its tokenizer has no token that a text begins after (BOS), or "
            "that ends one. Give text: --text FILE."
        )
    return (first,)
