"""Whether a model in memory is still the one that was taken apart."""

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

_SAMPLES = 16
"""Numbers of each matrix that are looked at: writing through ``.data`` is counted by nobody."""

_PLAIN = (bool, int, float, str)

_SHORT = 64

_PASSING = {"training", *vars(nn.Module())}
"""Attributes that layerwise sets and sets back, and those of every module, which are looked at one by one."""


class Snapshot:
    """What a model in memory looked like: its modules, their hooks and settings, and its weights."""

    def __init__(self, hf_model: Any, before: "Snapshot | None" = None) -> None:
        """Look at a model.

        Args:
            hf_model: the model.
            before: an earlier snapshot of it: what is in the same place is found there faster.
        """
        modules = [*hf_model.modules()]
        weights = [weight for module in modules for weight in module._parameters.values() if weight is not None]
        self._settings = [*map(_looks, modules)], [*_plain_values(vars(hf_model.config))]
        self._identities = [*map(_identity, weights)]
        known = before is not None and before._identities == self._identities and _all_alive(before._weights_alive)
        self._samples = before._samples if before is not None and known else _samples(weights)
        self._values = [torch.cat(some).cpu().view(torch.uint8).numpy().tobytes() for some in self._samples]
        # An address means nothing once what lay there is gone.
        self._modules_alive, self._weights_alive = [*map(weakref.ref, modules)], [*map(weakref.ref, weights)]

    def holds(self, now: "Snapshot") -> bool:
        """Return whether the model looks the same in a later snapshot."""
        return self._settings == now._settings and _all_alive(self._modules_alive) and self.holds_in_weights(now)

    def holds_in_weights(self, now: "Snapshot") -> bool:
        """Return whether at least the weights look the same."""
        same = self._identities == now._identities and self._values == now._values
        return same and _all_alive(self._weights_alive)


def _all_alive(references: list[Any]) -> bool:
    return all(reference() is not None for reference in references)


def _looks(module: nn.Module) -> tuple[Any, ...]:
    own, parts = vars(module), (module, *module._modules.values())
    hooks = (*module._forward_pre_hooks, *module._forward_hooks)  # numbers that are given once
    # PyTorch's own modules have no switches.
    plain = () if type(module).__module__.startswith("torch.nn.modules.") else _plain_values(own)
    return (type(module), own.get("forward"), hooks, *map(id, parts), *plain)


def _plain_values(attributes: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Return those attributes that are plain values, or short lists and tables of them: an adapter's switches."""
    for name, value in attributes.items():
        if name in _PASSING or name.endswith("seq_len_cached"):  # what rotary embeddings were last made for
            continue
        if isinstance(value, _PLAIN):
            yield name, value
        elif isinstance(value, list | tuple | set | dict) and 0 < len(value) < _SHORT:
            yield name, str(value)


def _identity(weight: Tensor) -> tuple[Any, ...]:
    version = None if weight.is_inference() else weight._version
    return id(weight), version, weight.data_ptr(), weight.dtype, weight.device, weight.shape


def _samples(weights: list[Tensor]) -> list[list[Tensor]]:
    """Return a few numbers of each weight, where they are, in groups of one device and precision."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for weight in weights:
        if type(weight) in (Tensor, nn.Parameter) and not weight.is_meta and weight.numel() and weight.is_contiguous():
            values = weight.detach().view(-1)
            step = 1 if weight.dim() == 1 else max(1, len(values) // _SAMPLES)
            groups.setdefault((weight.device, weight.dtype), []).append(values[::step])
    return [*groups.values()]
