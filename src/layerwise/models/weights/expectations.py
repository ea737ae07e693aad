"""What must be true of a model's weights: all there, of the model's shapes, and finite numbers."""

import re
from collections.abc import Container, Iterable, Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from layerwise.errors import CorruptFileError
from layerwise.text import harmless


def expect_complete(module: nn.Module, name: str, but: tuple[str, ...] = ()) -> None:
    """Raise CorruptFileError if a module still lacks weights, apart from those whose names begin as in `but`."""
    lacking = [n for n, parameter in module.named_parameters() if parameter.is_meta and not n.startswith(but)]
    if lacking:
        raise missing_weights(name, lacking)


def expect_buffers(hf_model: Any, made: Container[str]) -> None:
    """Raise CorruptFileError if the files lack what a model stores beside its parameters.

    Such as the biases by which experts are chosen: they have a value from the start, so nothing else would miss them.

    Args:
        hf_model: the model.
        made: the names of what the stored tensors become in it.
    """
    optional = hf_model._keys_to_ignore_on_load_missing or ()
    lacking = [name for name, _ in _stored_buffers(hf_model) if name not in made]
    if needed := [name for name in lacking if not any(re.search(pattern, name) for pattern in optional)]:
        raise missing_weights(type(hf_model).__name__, needed)


def _stored_buffers(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Return what a module stores beside its parameters, by name; not what it computes when it is made."""
    for prefix, owner in module.named_modules():
        for key, buffer in owner.named_buffers(prefix, recurse=False):
            if key.rpartition(".")[2] not in owner._non_persistent_buffers_set:
                yield key, buffer


def expect_finite(module: nn.Module, name: str) -> None:
    """Raise CorruptFileError if weights that a module has are NaN or infinite."""
    for parameter_name, parameter in chain(module.named_parameters(), _stored_buffers(module)):
        values = parameter.detach()
        # Others have no memory, or were packed by another package: integers, and scales of its own.
        if type(values) is torch.Tensor and not values.is_meta and values.is_floating_point():
            expect_numbers(values, name, parameter_name)


def expect_numbers(values: Tensor, name: str, parameter_name: str) -> None:
    """Raise CorruptFileError at NaN or infinite weights: every later number would be NaN, or wrong unseen."""
    if values.itemsize == 1:  # PyTorch does not compare float8
        values = values.float()
    # Extremes are NaN if any number is. They need no mask, and in bfloat16 a fifteenth of the time of a float32 sum.
    if values.numel() and not torch.isfinite(torch.stack(torch.aminmax(values))).all():
        bad = int((~torch.isfinite(values)).sum())
        raise CorruptFileError(
            f"{name}: {bad:,} of {values.numel():,} weights in {harmless(parameter_name)} are NaN or infinite. No "
            "prediction of this model means anything. Download it again, or load it in a wider dtype."
        )


def missing_weights(name: str, lacking: list[str]) -> CorruptFileError:
    """Return the error for weights that a model needs and its files do not have."""
    return CorruptFileError(
        f"{len(lacking)} weights that {name} needs are in none of its weight files ({', '.join(sorted(lacking)[:3])}"
        f"{', …' if len(lacking) > 3 else ''}); they would be random numbers. Download the model again."
    )


def wrong_shape(name: str, stored: Iterable[int], expected: Iterable[int]) -> CorruptFileError:
    """Return the error for a stored tensor whose shape is not the one that a model has room for."""
    return CorruptFileError(
        f"{harmless(name)} has shape {tuple(stored)} in the weight files, and the configuration asks for "
        f"{tuple(expected)}: they belong to different models, or one was edited. Download the model again."
    )
