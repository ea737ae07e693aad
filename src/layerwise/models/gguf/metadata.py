"""What a GGUF file says of its architecture, read key by key; what nobody has read at the end is not understood."""

from collections.abc import Mapping
from typing import Any

import torch

from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models.gguf.dequantise import values_of
from layerwise.models.gguf.gguf_files import GgufModel
from layerwise.models.gguf.header import ArrayLength
from layerwise.models.weights.weight_files import StoredTensor
from layerwise.text import harmless, one_line

_REQUIRED: Any = object()

INSTEAD = "Use the model's safetensors checkpoint from the hub instead."


class Metadata:
    """The keys of a GGUF file's architecture, and the shapes of its tensors.

    Keys are named without the architecture's name in front. Each one that is read is noted.
    """

    def __init__(self, gguf: GgufModel) -> None:
        self.architecture = gguf.header.architecture
        self.tensors: Mapping[str, StoredTensor] = gguf.tensors
        self.file = harmless(gguf.files[0].name)
        self._header = gguf.header
        self._read: set[str] = set()

    def count(self, key: str, default: Any = _REQUIRED, *, least: int = 0) -> Any:
        """Return a whole number; `default` where the key is absent."""
        value = self._value(key, default)
        if value is not default and (isinstance(value, bool | ArrayLength) or not _is_whole(value, least)):
            raise self._odd(key, value, f"a whole number, {least} or more")
        return value

    def number(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return a number; `default` where the key is absent."""
        value = self._value(key, default)
        if value is not default and (isinstance(value, bool | ArrayLength) or not isinstance(value, int | float)):
            raise self._odd(key, value, "a number")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return a truth value."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise self._odd(key, value, "true or false")
        return value

    def text(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return a text; `default` where the key is absent."""
        value = self._value(key, default)
        if value is not default and not isinstance(value, str):
            raise self._odd(key, value, "a text")
        return value

    def entries(self, key: str, default: Any = _REQUIRED) -> Any:
        """Return the numbers of an array, or the single one that stands there; `default` where the key is absent."""
        value = self._value(key, default)
        if value is default:
            return default
        found = self._header.array(f"{self.architecture}.{key}")
        if not all(isinstance(entry, int | float) for entry in found):
            raise self._odd(key, value, "numbers")
        return found

    def per_block(self, key: str, blocks: int, default: Any = _REQUIRED) -> list[Any]:
        """Return a number for each block, where the file has one for each or one for all."""
        found = self.entries(key, default)
        if found is default:
            return [default] * blocks
        if not isinstance(self._header.metadata[f"{self.architecture}.{key}"], ArrayLength):
            return found * blocks
        if len(found) < blocks:
            raise self._odd(key, f"{len(found)} entries", f"one for each of {blocks} blocks")
        return found[:blocks]

    def uniform(self, key: str, default: Any = _REQUIRED, *, least: int = 0) -> Any:
        """Return the whole number that holds for every block.

        Raises:
            CorruptFileError: it is less than `least`.
            UnsupportedModelError: the file has another for some of them.
        """
        found = self.entries(key, default)
        if found is default:
            return default
        if len(set(found)) != 1:
            raise UnsupportedModelError(
                f"{self.file} gives its blocks different values of {one_line(f'{self.architecture}.{key}')} "
                f"({', '.join(map(str, found[:6]))}, …), and transformers' model has one for all of them. {INSTEAD}"
            )
        if not _is_whole(found[0], least):
            raise self._odd(key, found[0], f"a whole number, {least} or more")
        return found[0]

    def token(self, name: str) -> int | None:
        """Return the id of a special token, such as ``bos``; None where the file names none."""
        value = self._header.metadata.get(f"tokenizer.ggml.{name}_token_id")
        return value if isinstance(value, int) and 0 <= value < self.rows("token_embd.weight") else None

    def has(self, tensor: str) -> bool:
        """Return whether there is a tensor of this name."""
        return tensor in self.tensors

    def rows(self, tensor: str) -> int:
        """Return the first number of a tensor's shape, as PyTorch orders it."""
        if tensor not in self.tensors:
            raise CorruptFileError(
                f"{self.file} ({harmless(self.architecture)}) has no tensor {tensor}, which every model of this "
                "architecture needs. Download it again."
            )
        return self.tensors[tensor].shape[0]

    def values(self, tensor: str) -> torch.Tensor:
        """Return a tensor's values in float32: of what belongs to the settings rather than to the weights."""
        return values_of(self.tensors[tensor])

    def unread(self) -> dict[str, Any]:
        """Return the architecture's keys that were not read, with their values."""
        prefix = f"{self.architecture}."
        return {
            key.removeprefix(prefix): value
            for key, value in self._header.metadata.items()
            if key.startswith(prefix) and key.removeprefix(prefix) not in self._read
        }

    def unsupported(self, what: str) -> UnsupportedModelError:
        """Return the error for something that the file says and transformers' model cannot be told."""
        return UnsupportedModelError(
            f"{self.file} ({harmless(self.architecture)}) {what}, so its predictions would be another model's. "
            f"{INSTEAD}"
        )

    def _value(self, key: str, default: Any) -> Any:
        self._read.add(key)
        value = self._header.metadata.get(f"{self.architecture}.{key}", default)
        if value is _REQUIRED:
            raise CorruptFileError(
                f"{self.file} does not say {one_line(f'{self.architecture}.{key}')}, without which the model cannot be "
                "made. It is damaged, or its converter was. Download it again, or use another file of the model."
            )
        return value

    def _odd(self, key: str, value: Any, expected: str) -> CorruptFileError:
        shown = "an array" if isinstance(value, ArrayLength) else one_line(repr(value))[:80]
        return CorruptFileError(
            f"{self.file} says {one_line(f'{self.architecture}.{key}')} is {shown}; expected {expected}. Download it "
            "again, or use another file of the model."
        )


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and value >= least
