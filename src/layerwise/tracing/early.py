"""A layer's likeliest tokens as soon as it is computed, for somebody who watches a prediction form."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.models.loading.loaded import LoadedModel
from layerwise.readout.kernel import read_out
from layerwise.readout.lenses import Lens
from layerwise.sites import Site
from layerwise.tracing.request_tokens import Prepared
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


class EarlyReader:
    """Reads the first request's positions at each layer that the sweep has done (an `Observer`)."""

    def __init__(self, model: LoadedModel, item: Prepared, lens: Lens, tell: OnLayer):
        self._model, self._item, self._lens, self._tell = model, item, lens, tell
        self._tokens = model.tokenizer.tokens(item.ids + item.generated)
        self._states: dict[int, Tensor] = {}

    def looks_at(self, site: Site) -> bool:
        return site.layer is not None

    def see(self, site: Site, places: Int[Tensor, " place"], values: Float[Tensor, "place d_model"]) -> None:
        """Take the states of the first request's own places, which come first."""
        mine = places < len(self._item.positions)
        self._states |= zip(places[mine].tolist(), values[mine], strict=True)

    @torch.no_grad()
    def seen(self, site: Site) -> None:
        """Read a layer."""
        assert site.layer is not None
        states = torch.stack([self._states[place] for place in range(len(self._item.positions))])
        item, head, text_of = self._item, self._model.output_head, self._model.tokenizer.text_of
        readout = read_out(
            states[:, None],
            head,
            rows_of=lambda some: self._lens.rows(some, head),
            top_k=item.request.top_k,
        )
        ids, logprobs = readout.top_ids[:, 0].tolist(), readout.top_logprobs[:, 0].double()
        probs = logprobs.exp().tolist()
        top = tuple(
            tuple(TokenProb(i, text_of(i), p, lp) for i, p, lp in zip(*each, strict=True))
            for each in zip(ids, probs, logprobs.tolist(), strict=True)
        )
        self._tell(LayerRead(site.layer, self._model.n_layers, self._tokens, item.positions, top))
