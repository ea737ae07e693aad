"""What a lens must beat: the same numbers where what they should read is not there, or is read wrongly.

Each keeps all but one thing. A lens of a *neighbouring* layer and one that was *rotated* have the same spectrum and the
same head; *another prompt* of the same kind and the prompt's tokens *shuffled* have the same words about; *random
weights* leave the lens nothing to read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.evaluation.evaluated import NEIGHBOUR, OTHER, RANDOM, ROTATED, SHUFFLED
from layerwise.evaluation.items import Item
from layerwise.evaluation.ranks import Prompts, States, last_states
from layerwise.lenses.fitted import FittedLens, Translator
from layerwise.models.tokenizing.tokens import Tokenizer
from layerwise.readout.lenses import Lens


@dataclass(frozen=True, eq=False)
class Controls:
    """What the controls of all lenses read: run through the model once."""

    prompts: Prompts
    other: Sequence[int | None]
    """By prompt, which other one its words are looked for at."""
    elsewhere: Mapping[str, States]
    """By control, states that a lens reads in place of the prompts' own."""
    seed: int

    @staticmethod
    def of(
        prompts: Prompts, ids: Sequence[Sequence[int]], items: Sequence[Item], random: States | None, seed: int
    ) -> "Controls":
        """Return controls of prompts; `random` has the states of random weights, where there are any."""
        mixed = [shuffled(prompts.model.tokenizer, each, seed + at) for at, each in enumerate(ids)]
        elsewhere = {SHUFFLED: last_states(prompts.model, mixed, prompts.progress)}
        if random is not None:
            elsewhere[RANDOM] = random
        return Controls(prompts, others(items), elsewhere, seed)

    def ranks(self, lens: Lens) -> dict[str, Int[np.ndarray, "word layer"]]:
        """Return ranks by control; 0 where an item has no such control."""
        found = {}
        if isinstance(lens, FittedLens):
            found[NEIGHBOUR] = self.prompts.ranks(neighbouring(lens, self.prompts.model.n_layers), NEIGHBOUR)
            found[ROTATED] = self.prompts.ranks(rotated(lens, self.seed), ROTATED)
        found[OTHER] = self._at_other_prompts(lens)
        return found | {name: self.prompts.at(states).ranks(lens, name) for name, states in self.elsewhere.items()}

    def _at_other_prompts(self, lens: Lens) -> Int[np.ndarray, "word layer"]:
        pairs = [(at, other) for at, other in enumerate(self.other) if other is not None]
        paired = np.repeat([other is not None for other in self.other], [len(words) for words in self.prompts.words])
        found = np.zeros((len(paired), self.prompts.states.shape[1]), dtype=np.int64)
        looked_for = self.prompts.some([at for at, _ in pairs])
        found[paired] = looked_for.at(self.prompts.states[[other for _, other in pairs]]).ranks(lens, OTHER)
        return found


def neighbouring(lens: FittedLens, n_layers: int) -> FittedLens:
    """Return a lens that reads each layer through the next one's translator."""
    shifted = {layer: lens.translators[layer + 1] for layer in range(n_layers) if layer + 1 in lens.translators}
    return FittedLens(lens.spec, shifted)


def rotated(lens: FittedLens, seed: int) -> FittedLens:
    """Return a lens whose matrices A are A Q, with a random orthogonal Q for each layer: of equal spectrum."""
    turned = {}
    for layer, translator in lens.translators.items():
        whole = translator.whole().float()
        turned[layer] = Translator(whole @ random_rotation(len(whole), seed + layer).to(whole), translator.bias)
    return FittedLens(lens.spec, turned)


def random_rotation(d: int, seed: int) -> Float[Tensor, "d d"]:
    """Return an orthogonal matrix, each as probable (Mezzadri 2007, *Notices of the AMS* 54:592)."""
    draw = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(d, d, generator=draw, dtype=torch.float64))
    return (q * r.diagonal().sign()).float()


def shuffled(tokenizer: Tokenizer, ids: Sequence[int], seed: int) -> tuple[int, ...]:
    """Return a prompt's tokens in random order; special ones at its beginning stay there."""
    kept = next((at for at, i in enumerate(ids) if i not in tokenizer.special_ids), len(ids))
    draw = torch.Generator().manual_seed(seed)
    order = (torch.randperm(len(ids) - kept, generator=draw) + kept).tolist()
    return (*ids[:kept], *(ids[at] for at in order))


def others(items: Sequence[Item]) -> list[int | None]:
    """Return for each item another one of its category with other intermediates, the next that there is."""
    found: list[int | None] = []
    for at, item in enumerate(items):
        turns = (*range(at + 1, len(items)), *range(at))
        fits = (i for i in turns if items[i].category == item.category and not _share(items[i], item))
        found.append(next(fits, None))
    return found


def _share(one: Item, other: Item) -> bool:
    """Return whether two items have an intermediate in common, or one's is the other's target."""
    of_one, of_other = ({each.strip().casefold() for word in item.words for each in word} for item in (one, other))
    return bool(of_one & of_other) or (one.target or "").strip().casefold() in of_other
