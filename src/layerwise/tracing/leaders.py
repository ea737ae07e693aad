"""Tokens that lead at any layer, kept at every layer: what a chart of a prediction forming shows."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.readout.readout import Readout
from layerwise.tracing.trace import Leaders


class LeaderTracker:
    """Keeps leaders' log-probabilities from logits that the readout is about to overwrite."""

    def __init__(self, others: Sequence[Sequence[int] | None], lenses: Sequence[slice]):
        """Follow leaders.

        Args:
            others: per place, tokens to keep beside its leaders; None where nothing is to be kept.
            lenses: of a place's rows, those of each lens.
        """
        self._others, self._lenses = others, lenses
        self.by_lens: list[dict[int, Leaders]] = [{} for _ in lenses]
        """Per lens, by place."""

    def see(self, places: slice, logits: Float[Tensor, "place row token"], readout: Readout) -> None:
        """Keep what is wanted of some places (`layerwise.readout.kernel.OnLogits`)."""
        for at, place in enumerate(range(places.start, places.stop)):
            others = self._others[place]
            if others is None:
                continue
            for rows, kept in zip(self._lenses, self.by_lens, strict=True):
                ids = tuple(dict.fromkeys([*readout.top_ids[at, rows, 0].tolist(), *others]))
                chosen = logits[at, rows].index_select(1, torch.tensor(ids, device=logits.device)).double().cpu()
                logprobs = (chosen - readout.lse[at, rows, :1]).float()
                kept[place] = Leaders(ids, logprobs.numpy())
