"""The model's own forward, untouched: what every lens number is checked against."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.loop import output_state
from layerwise.models.loading import LoadedModel


@dataclass(frozen=True, eq=False)
class OwnForward:
    """What transformers computes by itself, at the last position."""

    logits: Float[Tensor, " token"]
    """As the model returns them, raised to float32."""
    states: Float[Tensor, "layer d_model"]
    """What each block received (layers 0 to n - 1), then what the final norm received (layer n)."""


@torch.no_grad()
def own_forward(model: LoadedModel, ids: tuple[int, ...]) -> OwnForward:
    """Return the output and the residual stream of transformers' plain forward on `ids`.

    The states are noted by hooks that look and change nothing; the logits come from the model's
    own head, norm and output transform, none of them layerwise's.
    """
    received: list[Tensor] = []

    def look(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        received.append(output_state(hidden)[0, -1].clone())

    watched = [*model.parts.blocks, model.parts.final_norm]
    hooks = [module.register_forward_pre_hook(look, with_kwargs=True) for module in watched]
    try:
        output = model.hf(input_ids=torch.tensor([ids], device=model.device), use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    return OwnForward(output.logits[0, -1].float(), torch.stack(received))


@torch.no_grad()
def generate_greedily(model: LoadedModel, ids: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return up to `count` ids that the model itself continues `ids` with, always its likeliest.

    Stops after the end-of-text token. Uses transformers' forward and cache; none of the sampling
    settings that a checkpoint may bring (penalties, temperature) are applied.
    """
    made: list[int] = []
    step, cache = torch.tensor([ids], device=model.device), None
    while len(made) < count:
        output = model.hf(input_ids=step, past_key_values=cache, use_cache=True, logits_to_keep=1)
        made.append(int(output.logits[0, -1].argmax()))
        if made[-1] == model.tokenizer.end_id:
            break
        step, cache = torch.tensor([made[-1:]], device=model.device), output.past_key_values
    return tuple(made)
