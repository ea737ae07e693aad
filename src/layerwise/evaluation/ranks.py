"""Ranks of words after prompts, by layer: read at the last position of each prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.loop import drive
from layerwise.capture.sweep import Sweep
from layerwise.models.loading.loaded import LoadedModel
from layerwise.readout.kernel import read_out
from layerwise.readout.lenses import Lens
from layerwise.types import Progress

Ids = Sequence[int]
States = Float[Tensor, "prompt layer d_model"]


@dataclass(frozen=True, eq=False)
class Prompts:
    """Prompts that have gone through a model, and the words that are looked for at their ends."""

    model: LoadedModel
    states: States
    """Layers 0 to n at the last position of each."""
    words: Sequence[Sequence[Ids]]
    """By prompt, for each word that is looked for: the ids that stand for it."""
    progress: Progress | None = None

    @staticmethod
    def run(
        model: LoadedModel, prompts: Sequence[Ids], words: Sequence[Sequence[Ids]], progress: Progress | None = None
    ) -> "Prompts":
        """Return prompts after one pass of all through the model."""
        return Prompts(model, last_states(model, prompts, progress), words, progress)

    def some(self, which: Sequence[int]) -> "Prompts":
        """Return some of them."""
        return replace(self, states=self.states[list(which)], words=[self.words[at] for at in which])

    def at(self, states: States) -> "Prompts":
        """Return the same words, to be looked for in other states."""
        return replace(self, states=states)

    @torch.no_grad()
    def ranks(self, lens: Lens, named: str = "") -> Int[np.ndarray, "word layer"]:
        """Return each word's best rank among its ids, by layer; words of all prompts one after another.

        A rank is 1 + the number of strictly larger logits.

        Args:
            lens: what reads the states.
            named: what is read, for who watches.
        """
        head, told = self.model.output_head, f"reading {named or 'prompts'} through {lens.spec.name}"
        n_words, n_layers = sum(map(len, self.words)), self.states.shape[1]
        if not n_words:
            return np.empty((0, n_layers), dtype=np.int64)
        progress = self.progress
        readout = read_out(
            self.states,
            head,
            rows_of=lambda some: lens.rows(some, head),
            top_k=1,
            targets=[[i for ids in of_prompt for i in ids] for of_prompt in self.words],
            progress=progress and (lambda _, done, total: progress(told, done, total)),
        )
        ranks, found = readout.target_ranks.numpy(), []
        for at, of_prompt in enumerate(self.words):
            ends = np.cumsum([len(ids) for ids in of_prompt])
            found += [part.min(axis=-1) for part in np.split(ranks[at, :, : ends[-1]], ends[:-1], axis=-1)]
        return np.stack(found)


@torch.no_grad()
def last_states(model: LoadedModel, prompts: Sequence[Ids], progress: Progress | None = None) -> States:
    """Return layers 0 to n at the last position of each prompt."""
    sweep = Sweep(model, [ForwardPass(tuple(ids), (len(ids) - 1,)) for ids in prompts], progress=progress)
    drive(model, [sweep])
    return sweep.states
