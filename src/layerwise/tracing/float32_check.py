"""A model against itself in float32 on the CPU: what its device and its precision change."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.capture.block_calls import output_state, record_block_calls
from layerwise.capture.loop import drive
from layerwise.capture.model_call import failures_told
from layerwise.errors import CheckError
from layerwise.models.libraries.computed import copy_of
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.output_head.output_head import OutputHead
from layerwise.readout.kernel import read_out
from layerwise.tracing.identity_check import FLOAT32_LIMIT, identity_limit, largest_difference, output_logits


@dataclass(frozen=True)
class Drift:
    """How far half precision moves what the logit lens reads on one prompt, the worst of all layers."""

    variation: float
    """Total variation between the two distributions, in [0, 1]: no probability is off by more."""
    entropy_bits: float
    tops: int
    """Layers whose likeliest token differs."""


@dataclass(frozen=True)
class Float32Check:
    """What a device and a precision change, on one prompt."""

    device_error: float | None
    """Largest |Δ log-prob| of the output, between this device and the CPU; None on the CPU."""
    drift: Drift | None
    """None in float32."""


def check_against_float32(
    model: LoadedModel, ids: tuple[int, ...], states: Float[Tensor, "layer d_model"]
) -> Float32Check:
    """Compare what was captured at the prompt's last position with the same weights in float32 on the CPU.

    Some accelerators return wrong numbers without an error (TransformerLens #1178). Half precision
    rounds honestly, and by how much is stated.

    Raises:
        CheckError: the device's output differs by more than rounding explains.
    """
    exact = float32_states(model, ids)
    head = model.output_head.on_cpu()
    error = None if model.device.type == "cpu" else check_device(model, head, states, exact)
    return Float32Check(error, None if model.dtype == torch.float32 else _drift(head, states, exact))


def float32_states(model: LoadedModel, ids: tuple[int, ...]) -> Float[Tensor, "layer d_model"]:
    """Return the residual stream at the last position, computed in float32 on the CPU.

    What enters the first block, and rotary factors, are what the model made in its own precision.
    """
    exact = _InFloat32(model, ids)
    drive(model, [exact])
    return torch.stack(exact.states)


class _InFloat32:
    """One prompt on its way up through a float32 copy of each block, which takes the memory of one block."""

    def __init__(self, model: LoadedModel, ids: tuple[int, ...]) -> None:
        hidden, self._calls = record_block_calls(model, torch.tensor([ids], device=model.device))
        self._hidden = _on_cpu(hidden)
        self.states = [self._hidden[0, -1]]

    @torch.no_grad()
    def run_block(self, index: int, block: nn.Module) -> None:
        call = self._calls[index]
        with failures_told(
            f"What precision and device change cannot be said: block {index} has no float32 copy that runs",
            "A forward that was replaced, for instance, computes with the original's weights. Read the model in "
            "float32 on the CPU (model.float()), where nothing is compared.",
        ):
            twin = copy_of(block).to("cpu", torch.float32)
            self._hidden = output_state(twin(self._hidden, *_on_cpu(call.args), **_on_cpu(call.kwargs)))
        self.states.append(self._hidden[0, -1])


def check_device(model: LoadedModel, head: OutputHead, states: Tensor, exact: Tensor) -> float:
    """Return the largest |Δ log-prob| of the output between captured states and exact ones, if it is let through.

    `head` is the model's on the CPU; captured states are read by the one on their own device.
    """
    expected = output_logits(head, exact)
    error = largest_difference(output_logits(model.output_head, states).cpu(), expected)
    limit = max(10 * FLOAT32_LIMIT, identity_limit(model.dtype, expected))
    if not error <= limit:
        raise CheckError(
            f"On {model.device.type} this model's output differs from the CPU's by {error:.3g} in log-probability; "
            f"{limit:.3g} is what rounding explains. The device computes something else, so no number from it is "
            "shown. Run with --device cpu, or update PyTorch and the driver."
        )
    return error


def _drift(head: OutputHead, states: Tensor, exact: Tensor) -> Drift:
    pairs = torch.stack([states.float().cpu(), exact], dim=1)
    readout = read_out(pairs, head, rows_of=head.normed, top_k=1)
    entropies, tops = readout.entropy_bits, readout.top_ids[..., 0]
    return Drift(
        variation=float(readout.total_variation[:, 0].max()),
        entropy_bits=float((entropies[:, 0] - entropies[:, 1]).abs().max()),
        tops=int((tops[:, 0] != tops[:, 1]).sum()),
    )


def _on_cpu(value: Any) -> Any:
    """Return arguments with every tensor on the CPU, floating ones in float32."""
    if isinstance(value, Tensor):
        return value.to("cpu", torch.float32) if value.is_floating_point() else value.to("cpu")
    if isinstance(value, tuple | list):
        return type(value)(_on_cpu(item) for item in value)
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return value
