"""The causality check: what stands after a token must not change its states."""

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.observers import LayerByLayer
from layerwise.capture.sweep import Sweep
from layerwise.errors import UnsupportedModelError
from layerwise.models.anatomy.decoder import text_config
from layerwise.models.loading.loaded import LoadedModel

_LENGTHS = (13, 11, 7, 5, 3, 1)
"""Tokens of a prompt that are taken: every class that looks ahead does so from its first tokens on.

Some do so in blocks of 2, 4, 8, … tokens, as diffusion models do. With one more token after a length that blocks
divide, none of them sees it; no block divides a prime but one as long as that.
"""

_LIMIT = {torch.float32: 1e-3, torch.bfloat16: 0.15, torch.float16: 0.03}
"""Largest relative difference of a state that another length's kernels explain."""

_SWITCHES = ("use_bidirectional_attention", "bidirectional", "is_causal", "is_decoder")
"""Settings that commonly say that a model looks ahead."""


class Lookahead(LayerByLayer):
    """A prompt's first tokens, and the same with one more after them, on their way up apart from one another."""

    def __init__(self, model: LoadedModel, ids: tuple[int, ...]) -> None:
        """Stand at layer 0."""
        shorter = ids[: _length(model, len(ids))]
        super().__init__(2 * len(shorter))
        followed = (*shorter, _another(model, shorter))
        self.worst = 0.0
        """The largest relative difference so far of a state that both have."""
        everywhere = tuple(range(len(shorter)))
        passes = [ForwardPass(shorter, everywhere), ForwardPass(followed, everywhere)]
        self.sweep = Sweep(model, passes, [self], keep_states=False, apart=True)
        """What is to be driven."""

    def read(self, layer: int, states: Float[Tensor, "place d_model"]) -> None:
        alone, followed = states.float().chunk(2)
        apart = (alone - followed).norm(dim=-1) / alone.norm(dim=-1).clamp_min(1e-30)
        self.worst = max(self.worst, float(apart.nan_to_num(0.0, posinf=0.0).max()))  # overflows are named elsewhere


def expect_causal(model: LoadedModel, worst: float) -> None:
    """Stop at a model whose positions see what comes after them.

    Raises:
        UnsupportedModelError: one more token changes the states before it by more than rounding does.
    """
    limit = _LIMIT.get(model.dtype, _LIMIT[torch.float32])
    if worst <= limit:
        return
    config = text_config(model.hf.config)
    said = [f"{name}={getattr(config, name)}" for name in _SWITCHES if getattr(config, name, None) not in (None, "")]
    settings = f" (its settings say {', '.join(said)})" if said else ""
    raise UnsupportedModelError(
        f"{type(model.hf).__name__} is not causal: one more token after a prompt changes the states before it (by "
        f"{worst:.2g} of their length; {limit:.2g} is what rounding explains). Its positions see the tokens that come "
        "after them, as in models for embeddings and for filling in, or depend on the text's length, so none of them "
        f"predicts the next token{settings}. "
        "layerwise reads decoders, whose attention is causal."
    )


def _length(model: LoadedModel, count: int) -> int:
    """Return how many tokens to take: with one more they must not get other rotary frequencies, or have no position."""
    longest = max(1, min(count, (model.context_length or count + 1) - 1))
    lengths = [length for length in _LENGTHS if length <= longest]
    return next((n for n in lengths if model.rope_of(n) == model.rope_of(n + 1)), lengths[0])


def _another(model: LoadedModel, ids: tuple[int, ...]) -> int:
    """Return an ordinary token that is not among `ids`: more of the same might change nothing."""
    taken = {*ids, *model.tokenizer.special_ids}
    return next((i for i in range(model.tokenizer.rows or model.output_head.vocab_size) if i not in taken), ids[0])
