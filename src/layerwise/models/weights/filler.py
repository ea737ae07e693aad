"""A checkpoint's weights, read a few tensors at a time into a transformers model."""

import copy
import re
from collections.abc import Container, Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from layerwise.errors import CorruptFileError
from layerwise.models.libraries.quiet import quiet_transformers
from layerwise.models.machine.arena import Arena
from layerwise.models.weights.expectations import wrong_shape
from layerwise.models.weights.weight_files import StoredTensor, WeightFiles
from layerwise.text import harmless


class Weights(Protocol):
    """A checkpoint's weights as transformers takes them up."""

    files: WeightFiles
    tensors: dict[str, StoredTensor]
    """By the name in the checkpoint."""
    conversions: list[Any]
    """transformers' own way from what `read` returns to the model's parameters."""

    def parameter_of(self, name: str) -> str:
        """Return the name of the model's parameter, or the first of them, that a stored tensor becomes."""
        ...

    def dtype_of(self, name: str) -> torch.dtype:
        """Return what a stored tensor is read as, where nothing else is asked for."""
        ...

    def read(self, names: Iterable[str], arena: Arena, *, raised: bool) -> dict[str, Tensor]:
        """Return stored tensors as a state dict that the conversions take; `raised` floats are in float32."""
        ...

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        """Return consecutive rows of a stored matrix, [row, column]."""
        ...


class Filler:
    """Puts a checkpoint's weights into a model that was made without memory for them."""

    def __init__(self, hf_model: Any, weights: Weights, dtype: torch.dtype, device: torch.device) -> None:
        self.weights = weights
        self._hf_model, self._dtype, self._device = hf_model, dtype, device

    def size_of(self, name: str) -> int:
        """Return the bytes that a stored tensor takes in the model."""
        dtype = self._dtype if self._dtype == torch.float32 else self.weights.dtype_of(name)
        return self.weights.tensors[name].parameters * dtype.itemsize

    @torch.no_grad()
    def fill(self, names: Iterable[str], arena: Arena) -> None:
        """Read stored tensors and make them the model's parameters.

        Raises:
            CorruptFileError: they have another shape than the model's configuration asks for.
        """
        from transformers.core_model_loading import convert_and_load_state_dict_in_model
        from transformers.modeling_utils import LoadStateDictConfig

        config = LoadStateDictConfig(
            dtype=self._dtype,
            dtype_plan=self._hf_model._get_dtype_plan(self._dtype),
            device_map={"": self._device},
            weight_mapping=copy.deepcopy(self.weights.conversions),  # they note what they were used for
        )
        state_dict = self.weights.read(names, arena, raised=self._dtype == torch.float32)
        with quiet_transformers():
            report, _ = convert_and_load_state_dict_in_model(self._hf_model, state_dict, config)
        for name, stored, expected in sorted(report.mismatched_keys):
            raise wrong_shape(name, stored, expected)
        for name, error in report.conversion_errors.items():
            raise CorruptFileError(f"transformers could not make {harmless(name)} of the stored weights: {error}")


def names_by_block(weights: Weights, prefix: str, shared: Container[str] = ()) -> dict[int | None, list[str]]:
    """Return the stored tensors of each block, and under None those that belong to no block alone.

    Args:
        weights: the checkpoint's.
        prefix: the list of blocks' name in the model, for instance ``model.layers``.
        shared: names of parameters that several blocks have in common.
    """
    inside = re.compile(re.escape(prefix) + r"\.(\d+)\.")
    grouped: dict[int | None, list[str]] = {}
    for name in weights.tensors:
        parameter = weights.parameter_of(name)
        found = None if parameter in shared else inside.match(parameter)
        grouped.setdefault(int(found[1]) if found else None, []).append(name)
    return grouped
