"""Changes to how gradients go back through a block. What it computes forwards stays the same, bit by bit.

The R lens (Blank, Bhatia and Nanda 2026) is a Jacobian lens with three of them, which make a gradient say more of what
large changes do: the denominators of the norms that read the residual stream are constants; an activation a(z) is z
times the constant a(z) / z; and each factor of gate · up gets half of the product's gradient. Attention is as it is.
"""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.errors import UnsupportedModelError
from layerwise.models.anatomy.block_taps import (
    attention_of,
    mlps_of,
    more_than_parts,
    norm_before_mlp,
    norms_of,
    routes,
)
from layerwise.models.anatomy.tap import first_argument

_ACTIVATIONS = ("silu", "gelu", "relu", "activation", "swish")
"""In the names of activations' classes."""

_GATED = ({"gate_proj", "up_proj"}, {"gate_up_proj"})
"""Projections whose outputs are the factors of a product, or hold both of them."""

_NOT_GATED = ("fc1", "c_fc", "fc_in", "dense_h_to_4h", "up_proj")

_EPSILONS = ("variance_epsilon", "eps", "epsilon")

_SMALL = 1e-4
"""Where a(z) / z would divide by nothing, it is taken here: activations are straight so close to 0."""


@contextlib.contextmanager
def r_rules(block: nn.Module) -> Iterator[None]:
    """Have gradients go back through a block by the R lens's rules, if it runs forward inside the ``with``.

    Raises:
        UnsupportedModelError: the block has no place for one of the rules; the message names what it has.
    """
    name = type(block).__name__
    if more := more_than_parts(block):
        raise _no_rules(name, more)
    if attention_of(block) is None:
        raise _no_rules(name, "its mixer is no attention, and what takes attention's place has no rule")
    mlps = mlps_of(block)
    if len(mlps) != 1 or routes(mlps[0]):
        raise _no_rules(name, "it has a mixture of experts" if any(map(routes, mlps)) else "its MLP is not known")
    [mlp] = mlps
    children = dict(mlp.named_children())
    activations = [child for child in children.values() if _is_activation(child)]
    if len(activations) != 1:
        raise _no_rules(name, f"{type(mlp).__name__} has {len(activations)} modules that are its activation")
    halved = next((names for names in _GATED if names <= children.keys()), set())
    if not halved and not any(each in children for each in _NOT_GATED):
        raise _no_rules(name, f"it is not known whether {type(mlp).__name__} has a gate")
    hooks = [activations[0].register_forward_hook(_straighten_activation)]
    hooks += [children[each].register_forward_hook(_halve) for each in halved]
    entered: list[Tensor] = []
    hooks.append(
        block.register_forward_pre_hook(
            lambda _, args, kwargs: entered.append(first_argument(args, kwargs)), with_kwargs=True
        )
    )
    for norm in norms_of(block).values():
        known = norm is norm_before_mlp(block)
        hooks.append(norm.register_forward_hook(partial(_straighten_norm, entered, known)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_activation(module: nn.Module) -> bool:
    name = type(module).__name__.lower()
    return any(each in name for each in _ACTIVATIONS) and not any(True for _ in module.parameters())


def _straighten_activation(activation: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    """Give a(z) the gradient of z · constant."""
    [z] = args
    with torch.no_grad():
        close = z.abs() < _SMALL
        safe = torch.where(close, torch.full_like(z, _SMALL), z)
        slope = torch.where(close, activation.forward(safe), output) / safe
    return _Sloped.apply(z, output, slope, False)


def _halve(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
    """Give half of the gradient to what a factor is made of."""
    return _Sloped.apply(output, output, torch.full_like(output[..., :1], 0.5), False)


def _straighten_norm(
    entered: list[Tensor], known: bool, norm: nn.Module, args: tuple[Any, ...], output: Tensor
) -> Tensor:
    """Give a norm of the residual stream the gradient that it has with a constant denominator."""
    x = args[0]
    if not known and not (x.shape == entered[-1].shape and torch.equal(x, entered[-1])):
        return output
    with torch.no_grad():
        slope, centred = _slope_of_norm(norm, x.float(), output.float())
    return _Sloped.apply(x, output, slope.to(output.dtype), centred)


def _slope_of_norm(norm: Any, x: Tensor, output: Tensor) -> tuple[Tensor, bool]:
    """Return what a norm multiplies x by, and whether it takes the mean off before."""
    epsilon = next((getattr(norm, name) for name in _EPSILONS if hasattr(norm, name)), 0.0) or 0.0
    weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
    gains = [torch.ones(x.shape[-1], device=x.device)] if weight is None else [weight.float(), 1 + weight.float()]
    for centred in (False, True):
        values = x - x.mean(-1, keepdim=True) if centred else x
        scale = torch.rsqrt(values.square().mean(-1, keepdim=True) + epsilon)
        for gain in gains:
            found = values * (scale * gain) + (0 if bias is None else bias.float())
            if (found - output).norm() <= _tolerance(norm) * output.norm():
                return scale * gain, centred
    raise _no_rules(type(norm).__name__, "it is neither an RMS norm nor a layer norm with its gain")


def _tolerance(norm: nn.Module) -> float:
    """Return how far a norm computed in its parameters' precision may be from the same in float32."""
    coarsest = max((torch.finfo(each.dtype).eps for each in norm.parameters()), default=torch.finfo(torch.float32).eps)
    return max(1e-4, 4 * coarsest)


class _Sloped(torch.autograd.Function):
    """The output that something has, with the gradient of slope · x, or of slope · (x − its mean)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, output: Tensor, slope: Tensor, centred: bool) -> Tensor:
        ctx.save_for_backward(slope)
        ctx.centred = centred
        return output.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        [slope] = ctx.saved_tensors
        found = gradients[0] * slope
        return (found - found.mean(-1, keepdim=True) if ctx.centred else found), None, None, None


def _no_rules(name: str, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"The R lens's backward rules are not defined for {name}: {reason}. They are about blocks of attention and an "
        "MLP with one activation. Fit a Jacobian lens without them."
    )
