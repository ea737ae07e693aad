"""A layer's likeliest tokens as soon as it is computed, for somebody who watches a prediction form."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.observers import LayerByLayer
from layerwise.models.loading.loaded import LoadedModel
from layerwise.readout.kernel import read_out
from layerwise.readout.lenses import Lens, lens_at
from layerwise.tracing.prepared_request import Prepared
from layerwise.types import Token, TokenProb


@dataclass(frozen=True)
class LayerRead:
    """One layer, read before the whole trace is there. It is not checked yet; the trace is."""

    layer: int
    n_layers: int
    tokens: tuple[Token, ...]
    """The prompt's, then what was generated."""
    positions: tuple[int, ...]
    top: tuple[tuple[TokenProb, ...], ...]
    """The likeliest tokens after each position."""


OnLayer = Callable[[LayerRead], None]


class EarlyReader(LayerByLayer):
    """Reads the first request's positions, whose places come first, at each layer that the sweep has done."""

    def __init__(self, model: LoadedModel, item: Prepared, lens: Lens, tell: OnLayer):
        super().__init__(len(item.positions))
        self._model, self._item, self._lens, self._tell = model, item, lens, tell
        self._tokens = model.tokenizer.tokens(item.ids + item.generated)

    @torch.no_grad()
    def read(self, layer: int, states: Float[Tensor, "place d_model"]) -> None:
        item, head, text_of = self._item, self._model.output_head, self._model.tokenizer.text_of
        lens = lens_at(self._lens, layer)
        readout = read_out(
            states[:, None],
            head,
            rows_of=lambda some: lens.rows(some, head),
            top_k=item.request.top_k,
        )
        ids, logprobs = readout.top_ids[:, 0].tolist(), readout.top_logprobs[:, 0].double()
        probs = logprobs.exp().tolist()
        top = tuple(
            tuple(TokenProb(i, text_of(i), p, lp) for i, p, lp in zip(*each, strict=True))
            for each in zip(ids, probs, logprobs.tolist(), strict=True)
        )
        self._tell(LayerRead(layer, self._model.n_layers, self._tokens, item.positions, top))
