"""The ways in which others read every layer. They read one prompt at a time."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks import inside
from benchmarks.contenders import Models, NotOfferedError, Task
from benchmarks.settings import PROMPTS_RUN, Work

PROMPTS_OF_NNTERP = 8
"""One of them can take it seconds."""

Read = Callable[[Tensor, slice], object]
"""Reads ids [1, position] at the positions in the slice."""


class NaiveLoop:
    """What one writes by hand: transformers' forward, then norm, head, softmax and top-k for each layer."""

    def __init__(self, models: Models):
        self.model = models.shared
        self.hf = inside.hf_model(self.model)
        self.norm, self.head = inside.final_norm(self.model), self.hf.get_output_embeddings()

    def on(self, work: Work) -> Task:
        return _one_by_one(self.model, work, self.read)

    def read(self, ids: Tensor, kept: slice) -> object:
        *hidden, last = self.hf(input_ids=ids, output_hidden_states=True).hidden_states
        normed = [*(self.norm(states[:, kept]) for states in hidden), last[:, kept]]  # the last one is normed already
        return [_statistics(self.head(states)) for states in normed]


class TransformerLens:
    """TransformerLens's `logit_lens`: likeliest tokens and entropy."""

    def __init__(self, models: Models):
        self.model = models.fresh()
        self.bridge = self.model.bridge

    def on(self, work: Work) -> Task:
        return _one_by_one(self.model, work, self.read)

    def read(self, ids: Tensor, kept: slice) -> object:
        from transformer_lens.tools.analysis import logit_lens

        return logit_lens(self.bridge, ids, top_k=5, positions=(kept.start, kept.stop))


class TunedLens:
    """tuned-lens's `LogitLens` over transformers' hidden states, with the naive loop's statistics."""

    def __init__(self, models: Models):
        self.model = models.shared
        self.hf = inside.hf_model(self.model)
        self.lens = tuned_lenses().LogitLens.from_model(self.hf)

    def on(self, work: Work) -> Task:
        return _one_by_one(self.model, work, self.read)

    def read(self, ids: Tensor, kept: slice) -> object:
        output = self.hf(input_ids=ids, output_hidden_states=True)
        between = [self.lens(states[:, kept], layer) for layer, states in enumerate(output.hidden_states[:-1])]
        return [_statistics(logits) for logits in [*between, output.logits[:, kept]]]


class Nnterp:
    """nnterp's `logit_lens`: probabilities over the vocabulary at the last position, blocks 1 to n."""

    def __init__(self, models: Models):
        from nnterp import StandardizedTransformer  # pyright: ignore[reportMissingImports]  # optional

        model = models.fresh()
        tokenizer: Any = inside.hf_tokenizer(model)
        tokenizer.padding_side = "left"  # it refuses any other
        self.model = StandardizedTransformer(inside.hf_model(model), tokenizer=tokenizer)

    def on(self, work: Work) -> Task:
        from nnterp.interventions import logit_lens  # pyright: ignore[reportMissingImports]  # optional

        if work.positions == "all":
            raise NotOfferedError("reads the last position only")
        part, scale = work.first(PROMPTS_OF_NNTERP)

        def run() -> None:
            for question in part.questions:
                logit_lens(self.model, question.prompt)

        return Task(run, scale)


PEERS = {
    "naive loop": (NaiveLoop, "transformers"),
    "TransformerLens": (TransformerLens, "transformer-lens"),
    "tuned-lens": (TunedLens, "tuned-lens"),
    "nnterp": (Nnterp, "nnterp"),
}
"""By name: who it is, and the package that it comes from."""


def _one_by_one(model: Any, work: Work, read: Read) -> Task:
    part, scale = work.first(PROMPTS_RUN)
    ids = [inside.token_ids(model, question.prompt) for question in part.questions]
    kept = slice(None) if work.positions == "all" else slice(-1, None)

    @torch.no_grad()
    def run() -> None:
        for each in ids:
            read(each, kept)

    return Task(run, scale)


def _statistics(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the five likeliest tokens' log-probabilities and ids, and the entropy in nats."""
    logprobs = logits.float().log_softmax(-1)
    top = logprobs.topk(5)
    return top.values, top.indices, -(logprobs.exp() * logprobs).sum(-1)


def tuned_lenses() -> Any:
    """Return tuned-lens's module of lenses."""
    with _hidden("transformer_lens"):  # of version 4 it would ask for a class that is gone
        from tuned_lens.nn import lenses  # pyright: ignore[reportMissingImports]  # optional
    return lenses


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Have imports inside the block find no such package."""
    there = sys.modules.pop(package, None)
    sys.modules[package] = None  # pyright: ignore[reportArgumentType]  # how Python notes that there is none
    try:
        yield
    finally:
        del sys.modules[package]
        if there is not None:
            sys.modules[package] = there
