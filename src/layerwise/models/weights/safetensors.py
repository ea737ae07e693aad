"""Weights in safetensors files."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from layerwise.errors import UnsupportedModelError
from layerwise.models.machine.arena import Arena
from layerwise.models.weights.unused import Unused
from layerwise.models.weights.weight_files import StoredTensor, WeightFiles
from layerwise.text import harmless

_PIECE = 16 << 20
"""Bytes read before they are raised to float32: they then come from the cache."""


class SafetensorsWeights:
    """A checkpoint in the hub's layout, under the names that its files have."""

    by_themselves: dict[str, str]
    """The parameters of those stored tensors that become one each, rather than together with others."""

    def __init__(self, tensors: Mapping[str, StoredTensor], hf_model: Any) -> None:
        """Lay out how `tensors` become the parameters of `hf_model`, a transformers model."""
        from transformers.conversion_mapping import get_model_conversion_mapping

        self.tensors = dict(tensors)
        self.files = WeightFiles({tensor.file for tensor in self.tensors.values()})
        self.conversions = get_model_conversion_mapping(hf_model)
        self._parameter_of, self.by_themselves = _renamed(self.tensors, self.conversions, hf_model)
        self._expected, self._model = hf_model.state_dict(), type(hf_model).__name__

    @property
    def unused(self) -> list[Unused]:
        """The stored tensors that the model has no place for."""
        return [
            Unused(name, parameter, self.tensors[name].shape)
            for name, parameter in self._parameter_of.items()
            if parameter not in self._expected
        ]

    def expect_plain_numbers(self) -> None:
        """Raise UnsupportedModelError at weights that only another package can unpack."""
        for name, parameter in self._parameter_of.items():
            is_number = parameter in self._expected and self._expected[parameter].is_floating_point()
            if is_number and not _is_plain(self.dtype_of(name)):
                raise UnsupportedModelError(
                    f"{harmless(name)} is stored as {harmless(self.tensors[name].dtype)}, and "
                    f"{self._model} computes with plain numbers, so it is packed in a way that its "
                    "configuration does not name. Use a GGUF file or an unquantised checkpoint of the model."
                )

    def parameter_of(self, name: str) -> str:
        return self._parameter_of[name]

    def dtype_of(self, name: str) -> torch.dtype:
        dtype = getattr(torch, self.tensors[name].dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise UnsupportedModelError(
                f"{harmless(name)} is stored as {harmless(self.tensors[name].dtype)}, which PyTorch "
                f"{torch.__version__} does not have. Update PyTorch, or use a checkpoint in bfloat16."
            )
        return dtype

    def read(self, names: Iterable[str], arena: Arena, *, raised: bool) -> dict[str, Tensor]:
        return {name: self._raised(name, arena) if raised else self._stored(name, arena) for name in names}

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        tensor, dtype = self.tensors[name], self.dtype_of(name)
        rows = torch.empty(stop - start, *tensor.shape[1:], dtype=dtype)
        self.files.read(tensor, _memory(rows), start * (tensor.size_bytes // tensor.shape[0]))
        return rows

    def _stored(self, name: str, arena: Arena) -> Tensor:
        whole = arena.take(self.tensors[name].shape, self.dtype_of(name))
        self.files.read(self.tensors[name], _memory(whole))
        return whole

    def _raised(self, name: str, arena: Arena) -> Tensor:
        tensor, dtype = self.tensors[name], self.dtype_of(name)
        if dtype == torch.float32 or not dtype.is_floating_point:
            return self._stored(name, arena)
        whole = arena.take(tensor.shape, torch.float32)
        values, step = whole.view(-1), _PIECE // dtype.itemsize
        piece = torch.empty(min(step, len(values)), dtype=dtype)
        for start in range(0, len(values), step):
            part = piece[: len(values) - start]
            self.files.read(tensor, _memory(part), start * dtype.itemsize)
            values[start : start + len(part)] = part
        return whole


def _renamed(
    tensors: Mapping[str, StoredTensor], conversions: list[Any], hf_model: Any
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the model's parameter for each stored tensor, as transformers names it while loading.

    The second part holds those that become a parameter each, rather than one together with others.
    """
    from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key

    conversions = copy.deepcopy(conversions)  # they note what they were used for
    renamings = [each for each in conversions if isinstance(each, WeightRenaming)]
    converters = [each for each in conversions if isinstance(each, WeightConverter)]
    expected, base = hf_model.state_dict(), hf_model.base_model_prefix
    renamed, by_themselves = dict[str, str](), dict[str, str]()
    for name in sorted(tensors, key=dot_natural_key):  # some renamings wait for a name that sorts before others
        renamed[name], converted = rename_source_key(name, renamings, converters, base, expected)
        if renamed[name] not in expected and name in expected:
            renamed[name], converted = name, None
        if converted is None and renamed[name] in expected:
            by_themselves[name] = renamed[name]
    return renamed, by_themselves


def _is_plain(dtype: torch.dtype) -> bool:
    return dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def _memory(tensor: Tensor) -> memoryview:
    """Return a contiguous tensor's memory, to be written to."""
    return tensor.view(-1).view(torch.uint8).numpy().data
