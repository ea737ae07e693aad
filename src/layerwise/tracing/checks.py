"""The checks that stand between computing numbers and handing them out."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.loop import output_state, record_block_calls
from layerwise.capture.own import own_forward
from layerwise.errors import CheckError
from layerwise.models.device import dtype_name
from layerwise.models.loading import LoadedModel

_FLOAT32_LIMIT = 1e-3
"""Largest |Δ log-prob| let through in float32. Measured: 3e-5 on the bundled models."""

_STATES_LIMIT = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
"""Largest relative difference of a layer's state. Same kernels give 0; the slack is for other batch shapes."""


@dataclass(frozen=True, eq=False)
class IdentityCheck:
    """The lens at layer n, and every state on the way, held against transformers' own forward."""

    error: float
    limit: float
    states_error: float
    prompt: str
    ids: tuple[int, ...]
    own_logits: Float[Tensor, " token"]
    """What transformers' own forward gave at the prompt's last position."""


@dataclass
class Checker:
    """The checks that a loaded model has passed. One prompt's check covers later ones."""

    passed: dict[int | None, IdentityCheck] = field(default_factory=dict)
    """By prompt length, and under None the first of all."""
    device_error: float | None = None
    device_checked: bool = False
    weights: tuple[int, ...] = ()
    """Versions of the weights that the checks were passed with."""

    def check(
        self,
        model: LoadedModel,
        prompt: str,
        ids: tuple[int, ...],
        states: Float[Tensor, "layer d_model"],
        *,
        each_length: bool,
    ) -> IdentityCheck:
        """Return the check that covers this prompt, running it if there is none yet.

        Args:
            model: the model whose numbers are checked.
            prompt: for the record.
            ids: the prompt's tokens.
            states: the residual stream at the prompt's last position, as captured.
            each_length: ask for one check per prompt length, rather than one per model.

        Raises:
            CheckError: a check failed.
        """
        weights = tuple(parameter._version for parameter in model.hf.parameters())
        if weights != self.weights:  # a model in memory can be changed between two traces
            self.passed, self.device_checked, self.weights = {}, False, weights
        if not self.device_checked:
            self.device_error = None if model.device.type == "cpu" else check_device(model, ids, states)
            self.device_checked = True
        key = len(ids) if each_length else None
        if key not in self.passed:
            self.passed[key] = check_identity(model, prompt, ids, states)
            self.passed.setdefault(None, self.passed[key])
        return self.passed[key]


def check_identity(
    model: LoadedModel, prompt: str, ids: tuple[int, ...], states: Float[Tensor, "layer d_model"]
) -> IdentityCheck:
    """Compare the captured states, and the logit lens at layer n, with transformers' own forward.

    Raises:
        CheckError: they differ by more than rounding explains.
    """
    own = own_forward(model, ids)
    states_error = _check_states(model, states, own.states)
    lens_logits = head_logits(model, states[-1:])[0]
    error = _largest_difference(lens_logits, own.logits)
    limit = _identity_limit(model.dtype, own.logits)
    if not error <= limit:
        raise CheckError(
            f"The logit lens at layer {model.n_layers} differs from {type(model.hf).__name__}'s own output by "
            f"{error:.3g} in log-probability; {limit:.3g} is what {dtype_name(model.dtype)} rounding explains. The "
            "last layer must reproduce the model's output, so a part of the readout (final norm, unembedding, "
            "soft-cap, scale) is not what this model uses, and every other layer's numbers would be wrong too."
        )
    return IdentityCheck(error, limit, states_error, prompt, ids, own.logits)


def check_device(model: LoadedModel, ids: tuple[int, ...], states: Float[Tensor, "layer d_model"]) -> float:
    """Return how far this device's output is from the CPU's in float32, in |Δ log-prob|.

    Runs one prompt through a copy of each block on the CPU in turn, so that it takes the memory of
    one block. Some accelerators return wrong numbers without an error (TransformerLens #1178).

    Raises:
        CheckError: the difference is more than rounding explains.
    """
    hidden, calls = record_block_calls(model.parts, torch.tensor([ids], device=model.device))
    hidden = _on_cpu(hidden)
    with torch.no_grad():
        for block, call in zip(model.parts.blocks, calls, strict=True):
            twin = copy.deepcopy(block).to("cpu", torch.float32)
            hidden = output_state(twin(hidden, *_on_cpu(call.args), **_on_cpu(call.kwargs)))
        head = model.head.on_cpu()
        expected = head.logits(head.normed(hidden[0, -1:]))[0]
    error = _largest_difference(head_logits(model, states[-1:])[0].cpu(), expected)
    limit = max(10 * _FLOAT32_LIMIT, _identity_limit(model.dtype, expected))
    if not error <= limit:
        raise CheckError(
            f"On {model.device.type} this model's output differs from the CPU's by {error:.3g} in log-probability; "
            f"{limit:.3g} is what rounding explains. The device computes something else, so no number from it is "
            "shown. Run with --device cpu, or update PyTorch and the driver."
        )
    return error


def head_logits(model: LoadedModel, states: Float[Tensor, "row d_model"]) -> Float[Tensor, "row token"]:
    """Return the logit lens's logits for a few hidden states."""
    with torch.no_grad():
        return model.head.logits(model.head.normed(states))


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


def _largest_difference(logits: Tensor, expected: Tensor) -> float:
    difference = logits.float().log_softmax(-1) - expected.float().log_softmax(-1)
    return float(difference.abs().max())


def _identity_limit(dtype: torch.dtype, logits: Tensor) -> float:
    """Return the error that rounding may cause: in half precision it grows with the logits' size."""
    if dtype == torch.float32:
        return _FLOAT32_LIMIT
    return max(_FLOAT32_LIMIT, 4 * torch.finfo(dtype).eps * float(logits.abs().max()))


def _on_cpu(value: Any) -> Any:
    """Return arguments with every tensor on the CPU, floating ones in float32."""
    if isinstance(value, Tensor):
        return value.to("cpu", torch.float32) if value.is_floating_point() else value.to("cpu")
    if isinstance(value, tuple | list):
        return type(value)(_on_cpu(item) for item in value)
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return value
