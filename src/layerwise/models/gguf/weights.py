"""Weights in GGUF files, dequantised a few tensors at a time.

The numbers are the `gguf` package's; what becomes of them (other names, other orders, fused
tensors) is transformers' business, which has two ways for it: one for most architectures, and a
newer one that hands blocks of bytes to its conversions.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from layerwise.errors import UnsupportedModelError
from layerwise.models.gguf.files import GgufModel, alone
from layerwise.models.gguf.header import GgufHeader
from layerwise.models.room import Room
from layerwise.models.rope import scales_rope
from layerwise.models.weights.stored import StoredTensor, WeightFiles
from layerwise.text import harmless

_PIECE = 1 << 19
"""Values dequantised at a time: several copies of them then stay in the cache."""

_FREQUENCIES = "rope_freqs.weight"


class GgufWeights:
    """A checkpoint in one or several GGUF files, under ggml's names."""

    conversions: list[Any]

    def __init__(
        self, tensors: Mapping[str, StoredTensor], header: GgufHeader, settings: Mapping[str, Any], hf_model: Any
    ) -> None:
        """Lay out how `tensors` become the parameters of `hf_model`, a transformers model.

        Args:
            tensors: by ggml's name.
            header: of the file with the metadata.
            settings: the configuration as transformers reads it off the metadata.
            hf_model: where they go.
        """
        from transformers.modeling_gguf_pytorch_utils import (
            TENSOR_PROCESSORS,
            TensorProcessor,
            get_gguf_hf_weights_map,
        )

        self.tensors = dict(tensors)
        self.files = WeightFiles({tensor.file for tensor in self.tensors.values()})
        self.conversions = []
        self._processor = TENSOR_PROCESSORS.get(header.architecture, TensorProcessor)(config=dict(settings))
        self._names = get_gguf_hf_weights_map(
            _Named(hf_model.state_dict(), hf_model.config, hf_model.base_model_prefix), self._processor
        )

        self._header = header

    def stretch_positions(self, hf_model: Any) -> None:
        """Stretch rotary positions as the file says, which transformers 5.23 leaves out for most architectures.

        llama.cpp divides each frequency by a factor of its own (``rope_freqs``: Llama 3's way), and all
        of them by ``rope.scaling.factor`` where the scaling is linear.

        Raises:
            UnsupportedModelError: the model's frequencies are not found.
        """
        scaling = f"{self._header.architecture}.rope.scaling"
        even = self._header.metadata.get(f"{scaling}.type") == "linear"
        if scales_rope(hf_model.config) or not (even or _FREQUENCIES in self.tensors):
            return
        factor = float(self._header.metadata.get(f"{scaling}.factor", 1.0)) if even else 1.0
        factors = torch.tensor(factor)
        if _FREQUENCIES in self.tensors:
            factors = factor * self._dequantised(_FREQUENCIES, Room(0))
        rotary = [module for module in hf_model.modules() if isinstance(getattr(module, "inv_freq", None), Tensor)]
        if not rotary or not all(factors.shape in ((), module.inv_freq.shape) for module in rotary):
            raise UnsupportedModelError(
                f"The GGUF file stretches rotary positions, and {type(hf_model).__name__} has {len(rotary)} sets of "
                "frequencies that this would fit. Use the model's safetensors checkpoint from the hub instead."
            )
        for module in rotary:
            module.inv_freq = module.inv_freq / factors
            module.original_inv_freq = module.inv_freq

    def parameter_of(self, name: str) -> str:
        return self._names.get(name) or self._names.get(name.removesuffix(".weight")) or name

    def dtype_of(self, name: str) -> torch.dtype:
        return torch.float32

    def read(self, names: Iterable[str], room: Room, *, raised: bool) -> dict[str, Tensor]:
        made: dict[str, dict[str, Tensor]] = {"tensors": {}}
        for name in names:
            values = self._dequantised(name, room).numpy()
            result = self._processor.process(
                weights=values, name=name, tensor_key_mapping=self._names, parsed_parameters=made
            )
            if result.name in self._names:  # fused tensors were entered by the processor itself
                made["tensors"][self._names[result.name]] = torch.from_numpy(np.ascontiguousarray(result.weights))
        return made["tensors"]

    def read_rows(self, name: str, start: int, stop: int) -> Tensor:
        values = torch.empty(stop - start, self.tensors[name].shape[1])
        self._dequantise_rows(name, start, values)
        return values

    def _dequantised(self, name: str, room: Room) -> Tensor:
        tensor = self.tensors[name]
        values = room.take(tensor.shape, torch.float32)
        self._dequantise_rows(name, 0, values.view(-1, tensor.shape[-1]))
        return values

    def _dequantise_rows(self, name: str, first: int, out: Tensor) -> None:
        """Fill `out`, [row, column], with a tensor's rows from `first` on, some at a time."""
        tensor, values = self.tensors[name], out.view(-1)
        row_bytes = tensor.size_bytes * tensor.shape[-1] // tensor.parameters
        step = max(1, _PIECE // out.shape[1])
        raw = np.empty(min(step, len(out)) * row_bytes, dtype=np.uint8)
        for start in range(0, len(out), step):
            part = raw[: (len(out) - start) * row_bytes]
            self.files.read(tensor, part.data, (first + start) * row_bytes)
            made = _dequantise(part, tensor.dtype)
            values[start * out.shape[1] :][: len(made)] = made


def only_transformers_reads(architecture: str) -> bool:
    """Return whether an architecture goes transformers' newer way, which loads a whole model at once."""
    from transformers.integrations.gguf.gguf_conversion_mapping import GGUF_ARCHS

    return architecture in GGUF_ARCHS


def read_by_transformers(gguf: GgufModel, device: torch.device, dtype: torch.dtype) -> Any:
    """Return the model that transformers makes of a GGUF file, dequantised as a whole.

    Raises:
        UnsupportedModelError: the model is split, which transformers does not read.
    """
    from transformers import AutoModelForCausalLM, GgufConfig

    file = gguf.files[0]
    if len(gguf.files) > 1:
        raise UnsupportedModelError(
            f"{harmless(file.name)} is one of {len(gguf.files)} parts, and transformers reads "
            f"{gguf.header.architecture!r} from a single file only. Join them with "
            f"`llama-gguf-split --merge {harmless(file.name)} OUTPUT.gguf`."
        )
    with alone(file) as link:
        hf_model: Any = AutoModelForCausalLM.from_pretrained(
            link.parent,
            gguf_file=link.name,
            dtype=dtype,
            # Without this, a machine that has the `kernels` package keeps the weights packed.
            quantization_config=GgufConfig(dequantize=True),
            device_map=None if device.type == "cpu" else {"": device},
        )
    return hf_model.eval().requires_grad_(False)


def _dequantise(raw: np.ndarray, dtype: str) -> Tensor:
    """Return the values of blocks, one after another, in float32.

    By transformers where it knows the blocks, up to five times as fast as the `gguf` package and with
    the same bits, else by the latter.
    """
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize
    from transformers.integrations.gguf import dequant

    if dtype in ("float64", "float32", "float16"):
        return torch.from_numpy(raw.view(dtype)).float()
    kind = GGMLQuantizationType["BF16" if dtype == "bfloat16" else dtype]
    one_row = raw.reshape(1, -1)  # the package works row by row, and is slow for many
    if kind in dequant.GGML_BLOCK:
        return dequant.dequantize(torch.from_numpy(one_row), kind.value).flatten()
    try:
        return torch.from_numpy(dequantize(one_row, kind)).flatten()
    except NotImplementedError as error:
        raise UnsupportedModelError(
            f"The GGUF file has tensors stored as {kind.name}, which the gguf package {version('gguf')} cannot "
            "dequantise. Use a file in another quantisation, or the model's safetensors checkpoint."
        ) from error


class _Named:
    """A model's parameter names, as far as transformers' mapping needs them: of the whole and of its backbone.

    Given the model itself, transformers 5.23 works the mapping out again for each of its modules, in 5 s.
    """

    def __init__(self, names: Iterable[str], config: Any, backbone: str | None) -> None:
        self.config = config
        self._names, self._backbone = list(names), backbone

    def state_dict(self) -> list[str]:
        return self._names

    def named_children(self) -> list[tuple[str, "_Named"]]:
        if not self._backbone:
            return []
        inner = [n.removeprefix(f"{self._backbone}.") for n in self._names if n.startswith(f"{self._backbone}.")]
        return [(self._backbone, _Named(inner, self.config, None))]
