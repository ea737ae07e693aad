"""What nobody who reads every layer can do without: the forward pass and one matrix product."""

from collections import defaultdict

import torch
from torch import Tensor

import layerwise as lw
from benchmarks import inside
from benchmarks.contenders import Models, Task
from benchmarks.settings import PROMPTS_RUN, Work

_TOKENS_AT_ONCE = 2048

PLACES = 64
"""Readout and product are measured on so many places (positions of prompts); beyond, they grow with the rows."""

_PRODUCT_BYTES = 64 << 20


class Forward:
    """transformers' forward alone, logits at the last position, prompts of one length together."""

    def __init__(self, models: Models):
        self.model = models.shared
        self.hf = inside.hf_model(self.model)

    def on(self, work: Work) -> Task:
        part, scale = work.first(PROMPTS_RUN)
        by_length: dict[int, list[Tensor]] = defaultdict(list)
        for question in part.questions:
            ids = inside.token_ids(self.model, question.prompt)
            by_length[ids.shape[1]].append(ids)
        batches = [
            batch
            for length, each in by_length.items()
            for batch in torch.cat(each).split(max(1, _TOKENS_AT_ONCE // length))
        ]

        @torch.no_grad()
        def run() -> None:
            for batch in batches:
                self.hf(input_ids=batch, use_cache=False, logits_to_keep=1)

        return Task(run, scale)


class Readout:
    """layerwise's readout of states that are there already."""

    def __init__(self, models: Models):
        self.model = models.shared

    def on(self, work: Work) -> Task:
        states, scale = _states(self.model, work)
        return Task(inside.readout(self.model, states), scale)


class Product:
    """The product of the same rows with the unembedding, in the weights' precision."""

    def __init__(self, models: Models):
        self.model = models.shared

    def on(self, work: Work) -> Task:
        states, scale = _states(self.model, work)
        weight = inside.unembedding(self.model)
        with torch.no_grad():
            rows = inside.final_norm(self.model)(states).flatten(0, 1)
        at_once = max(1, _PRODUCT_BYTES // (weight.element_size() * len(weight)))
        buffer = weight.new_empty(min(at_once, len(rows)), len(weight))

        @torch.no_grad()
        def run() -> None:
            for some in rows.split(at_once):
                torch.mm(some, weight.T, out=buffer[: len(some)])

        return Task(run, scale)


LIMITS = {"forward": Forward, "product": Product, "readout": Readout}


@torch.no_grad()
def _states(model: lw.Model, work: Work) -> tuple[Tensor, float]:
    """Return the residual stream at the first places [place, layer, d_model], and how many times as many there are."""
    part, scale = work.first(PLACES)
    found = [_states_of(model, question.prompt) for question in part.questions]
    places = torch.cat(found if work.positions == "all" else [states[-1:] for states in found])
    return places[:PLACES], scale * len(places) / len(places[:PLACES])


def _states_of(model: lw.Model, prompt: str) -> Tensor:
    """Return a prompt's states [position, layer, d_model]; what the final norm takes in is the last layer."""
    last: list[Tensor] = []
    hook = inside.final_norm(model).register_forward_pre_hook(lambda _, inputs: last.append(inputs[0]))
    try:
        output = inside.hf_model(model)(
            input_ids=inside.token_ids(model, prompt), output_hidden_states=True, logits_to_keep=1
        )
    finally:
        hook.remove()
    return torch.stack([*output.hidden_states[:-1], last[0]], dim=2)[0]
