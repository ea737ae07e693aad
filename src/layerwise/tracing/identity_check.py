"""The identity check: captured states, and the lens at layer n, against transformers' own forward."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.own_forward import OwnForward
from layerwise.errors import CheckError
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.machine.device import dtype_name
from layerwise.models.output_head.output_head import OutputHead
from layerwise.readout.readout import Readout
from layerwise.readout.row_statistics import log_sum_exp

FLOAT32_LIMIT = 1e-3
"""Largest |Δ log-prob| let through in float32. Measured: 3e-5 on the bundled models."""

_STATES_LIMIT = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Largest relative difference of a layer's state. Same kernels give 0; the slack is for other batch shapes."""


@dataclass(frozen=True, eq=False)
class IdentityCheck:
    """The lens at layer n, and every state on the way, compared with transformers' own forward."""

    error: float
    limit: float
    states_error: float
    prompt: str
    forward_pass: ForwardPass
    """That was checked: nothing is edited in it."""
    own_logits: Float[Tensor, " token"]
    """What transformers' own forward gave at the prompt's last position."""

    def is_of(self, forward_pass: ForwardPass) -> bool:
        """Return whether this pass is the one that was checked, so that the model's own output is its output."""
        return self.forward_pass.key == forward_pass.key

    def is_said_by(self, output: Readout, place: int) -> bool:
        """Return whether a readout's last row gives its likeliest tokens what the model's own forward gave them."""
        ids = output.top_ids[place, -1]
        own = self.own_logits.cpu()[ids.cpu()].double() - self._own_lse
        return float((output.top_logprobs[place, -1].cpu().double() - own).abs().max()) <= self.limit

    @cached_property
    def _own_lse(self) -> float:
        return float(log_sum_exp(self.own_logits[None].float())[0])


def check_identity(
    model: LoadedModel, prompt: str, states: Float[Tensor, "layer d_model"], own: OwnForward
) -> IdentityCheck:
    """Compare the captured states, and the logit lens at layer n, with transformers' own forward.

    Raises:
        CheckError: they differ by more than rounding explains.
    """
    states_error = _check_states(model, states, own.states)
    error = largest_difference(output_logits(model.output_head, states), own.logits)
    limit = identity_limit(model.dtype, own.logits)
    if not error <= limit:
        raise CheckError(
            f"The logit lens at layer {model.n_layers} differs from {type(model.hf).__name__}'s own output by "
            f"{error:.3g} in log-probability; {limit:.3g} is what {dtype_name(model.dtype)} rounding explains. The "
            "last layer must reproduce the model's output, so a part of the readout (final norm, unembedding, "
            "soft-cap, scale) is not what this model uses, and every other layer's numbers would be wrong too."
        )
    return IdentityCheck(error, limit, states_error, prompt, ForwardPass(own.ids), own.logits)


def output_logits(head: OutputHead, states: Float[Tensor, "layer d_model"]) -> Float[Tensor, " token"]:
    """Return the logit lens's logits at layer n."""
    return head.logits(head.normed(states[-1:]))[0]


def _check_states(model: LoadedModel, captured: Tensor, own: Tensor) -> float:
    distances = (captured.float() - own.float()).norm(dim=-1) / own.float().norm(dim=-1).clamp_min(1e-30)
    worst = float(distances.max())
    limit = _STATES_LIMIT.get(model.dtype, 1e-4)
    if not worst <= limit:
        layer = int((~(distances <= limit)).nonzero()[0])
        raise CheckError(
            f"The state at layer {layer} of {type(model.hf).__name__} is not what transformers' own forward has there "
            f"(relative difference {float(distances[layer]):.3g}, limit {limit:.3g}). Either its blocks do not form "
            "one chain (several residual streams, state handed across layers), or numbers overflowed in "
            f"{dtype_name(model.dtype)}: try --dtype float32."
        )
    return worst


def largest_difference(logits: Tensor, expected: Tensor) -> float:
    """Return the largest |Δ log-prob|, the difference of two rows of logits that are shifted against each other."""
    both = torch.stack([logits.float(), expected.float()])
    first, second = log_sum_exp(both)
    return float((both[0].cpu().double() - both[1].cpu().double() - (first - second)).abs().max())


def identity_limit(dtype: torch.dtype, logits: Tensor) -> float:
    """Return the error that rounding may cause: in half precision it grows with the logits' size."""
    if dtype == torch.float32:
        return FLOAT32_LIMIT
    return max(FLOAT32_LIMIT, 4 * torch.finfo(dtype).eps * float(logits.abs().max()))
