"""Weights in GGUF files, dequantised and put into transformers' order a few tensors at a time."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from layerwise.errors import CorruptFileError
from layerwise.models.gguf.dequantise import dequantise_rows
from layerwise.models.gguf.rules import Made, Rules, unchanged
from layerwise.models.machine.arena import Arena
from layerwise.models.weights.weight_files import StoredTensor, WeightFiles
from layerwise.text import one_line


class GgufWeights:
    """A checkpoint in one or several GGUF files, under ggml's names."""

    conversions: list[Any]

    def __init__(self, tensors: Mapping[str, StoredTensor], rules: Rules) -> None:
        """Lay out how `tensors`, each of which has a rule, become parameters."""
        self.tensors = dict(tensors)
        self.files = WeightFiles({tensor.file for tensor in self.tensors.values()})
        self.conversions = []
        self._made: dict[str, Made] = {name: rules.of(name) for name in tensors}

    @property
    def parameters(self) -> dict[str, tuple[str, ...]]:
        """The parameters that each tensor becomes or is part of."""
        return {name: rule.made for name, rule in self._made.items()}

    def parameter_of(self, name: str) -> str:
        return self._made[name].made[0]

    def dtype_of(self, name: str) -> torch.dtype:
        return torch.float32

    def read(self, names: Iterable[str], arena: Arena, *, raised: bool) -> dict[str, Tensor]:
        wanted = dict.fromkeys(names)
        parameters: dict[str, Tensor] = {}
        for rule in {self._made[name].made: self._made[name] for name in wanted}.values():
            if lacking := [name for name in rule.stored if name not in self.tensors]:
                raise CorruptFileError(
                    f"{one_line(rule.stored[0])} needs {one_line(lacking[0])} beside it, and no file has it. Download "
                    "the model again."
                )
            values = {name: self._whole(name, arena) for name in rule.stored}
            try:
                parameters |= rule.parameters(values)
            except RuntimeError as error:  # what PyTorch raises over shapes
                shapes = " and ".join(f"{one_line(name)} {tuple(each.shape)}" for name, each in values.items())
                raise CorruptFileError(
                    f"The shape of {shapes} doesn't fit what the file says of the model's sizes ({error}). It was "
                    "edited, or damaged. Download the model again."
                ) from error
        return parameters

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        assert self._made[name].convert is unchanged, f"{name} is not stored row by row"
        values = torch.empty(stop - start, self.tensors[name].shape[1])
        dequantise_rows(self.files, self.tensors[name], start, values)
        return values

    def _whole(self, name: str, arena: Arena) -> Tensor:
        tensor = self.tensors[name]
        values = arena.take(tensor.shape, torch.float32)
        dequantise_rows(self.files, tensor, 0, values.view(-1, tensor.shape[-1]))
        return values
