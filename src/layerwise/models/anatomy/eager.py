"""Attention computed step by step, so that its weights come out, and can be changed."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from layerwise.errors import UnsupportedModelError

_SETTING = "_attn_implementation_internal"

_CHANGED = "layerwise_changed_patterns"
"""What transformers calls attention whose weights are changed before values are summed."""

_changes: WeakKeyDictionary[nn.Module, Callable[[Tensor], Tensor]] = WeakKeyDictionary()
"""By attention module."""


@contextlib.contextmanager
def eager_attention(hf_model: Any) -> Iterator[None]:
    """Have a transformers model compute attention in PyTorch's single steps inside the ``with``.

    Kernels that fuse the steps return no weights. The masks are made by the model's own forward to suit the
    implementation, so that must run inside too: a fused kernel may be given no mask at all and know by itself that it
    looks backwards only. Results differ from the fused ones by rounding. Afterwards every module has its own
    implementation back.

    It is set in every configuration that a module reads, for not all of them are the model's own. transformers'
    set_attn_implementation() leaves out architectures (Falcon) that read the same setting in their own way.
    """
    with _implementation(hf_model.modules(), "eager"):
        yield


@contextlib.contextmanager
def changed_patterns(attention: nn.Module, change: Callable[[Tensor], Tensor], who: str) -> Iterator[None]:
    """Have an attention module sum values by other weights than its own inside the ``with``.

    It must run in `eager_attention`. What transformers' own code for the family computes is corrected by the difference
    that the weights make: where they are the same, every bit is.

    Args:
        attention: the module.
        change: takes its weights, a copy, [sequence, head, query, key], and returns those to sum by.
        who: how messages call its block.

    Raises:
        UnsupportedModelError: once it ran: the family's attention does not go by transformers' interface.
    """
    called: list[bool] = []

    def noted(weights: Tensor) -> Tensor:
        called.append(True)
        return change(weights)

    _changes[attention] = noted
    try:
        with _implementation([attention], _CHANGED):
            yield
    finally:
        del _changes[attention]
    if not called:
        raise UnsupportedModelError(
            f"Attention in {who} ({type(attention).__name__}) computes its weights in a way of its own, so they cannot "
            "be changed. Change q, k, v or z instead."
        )


def _changed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **more: Any
) -> tuple[Tensor, Tensor]:
    """Return what a family's attention gives with weights changed as `changed_patterns` says."""
    own = sys.modules[type(module).__module__].eager_attention_forward
    output, weights = own(module, query, key, value, mask, **more)
    if module not in _changes:  # another block's, with the same configuration
        return output, weights
    changed = _changes[module](weights.clone())
    values = value.repeat_interleave(weights.shape[1] // value.shape[1], dim=1)
    return output + torch.matmul(changed - weights, values).transpose(1, 2), changed


AttentionInterface.register(_CHANGED, _changed_attention)
AttentionMaskInterface.register(_CHANGED, eager_mask)


@contextlib.contextmanager
def _implementation(modules: Iterable[nn.Module], name: str) -> Iterator[None]:
    """Set the implementation of attention in the configurations of modules inside the ``with``."""
    configs = {id(config): config for module in modules if (config := getattr(module, "config", None))}
    held = [(config, getattr(config, _SETTING)) for config in configs.values() if hasattr(config, _SETTING)]
    try:
        for config, _ in held:
            setattr(config, _SETTING, name)
        yield
    finally:
        for config, before in held:
            setattr(config, _SETTING, before)
