"""GGUF files as they lie on disk: one, or the parts of a split one."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerwise.errors import CorruptFileError, ModelError
from layerwise.models.gguf.header import GgufHeader, read_gguf_header
from layerwise.models.weights.weight_files import StoredTensor
from layerwise.text import harmless, one_line

_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)

FACTORS = ("rope_factors_short.weight", "rope_factors_long.weight", "rope_freqs.weight")
"""Tensors that belong to the settings: what rotary frequencies are divided by in short texts, in long ones, in all."""


@dataclass(frozen=True)
class GgufModel:
    """One GGUF file, or all parts of a split one."""

    files: tuple[Path, ...]
    """The first has the metadata."""
    header: GgufHeader
    """The first file's."""
    tensors: dict[str, StoredTensor]
    """Of all files, by ggml's name."""


def open_gguf(gguf_file: Path) -> GgufModel:
    """Return what a GGUF file, or any part of a split one, says about the model.

    Raises:
        CorruptFileError: a file is not GGUF, damaged or cut short, or a part is missing.
        ModelError: a file cannot be read.
    """
    try:
        header = read_gguf_header(gguf_file)
        count = header.metadata.get("split.count", 1)
        if count in (0, 1):  # 0 where the parts were put together again
            _expect_architecture(gguf_file, header)
            return GgufModel((gguf_file,), header, {tensor.name: tensor for tensor in header.tensors})
        files = _parts(gguf_file, count)
        headers = [read_gguf_header(file) for file in files]
    except OSError as error:
        raise ModelError(f"{harmless(str(gguf_file))} cannot be read: {error.strerror}.") from error
    _expect_architecture(files[0], headers[0])
    _expect_one_split(files, headers)
    tensors = {tensor.name: tensor for each in headers for tensor in each.tensors}
    promised = headers[0].metadata.get("split.tensors.count", sum(len(each.tensors) for each in headers))
    if len(tensors) != promised:
        raise CorruptFileError(
            f"The {count} parts of {harmless(gguf_file.name)} hold {len(tensors)} tensors, and "
            f"{one_line(str(promised))} were promised: they don't belong together. Download all parts again."
        )
    return GgufModel(files, headers[0], tensors)


def _expect_one_split(files: tuple[Path, ...], headers: list[GgufHeader]) -> None:
    """Stop where a part says that it is another one, or that the model has another number of parts or tensors."""
    whole = {"split.count": len(files), "split.tensors.count": headers[0].metadata.get("split.tensors.count")}
    for number, (file, header) in enumerate(zip(files, headers, strict=True)):
        for key, expected in (whole | {"split.no": number}).items():
            if (said := header.metadata.get(key, expected)) != expected:
                raise CorruptFileError(
                    f"{harmless(file.name)} says {key} is {one_line(str(said))}; expected {one_line(str(expected))} by "
                    "its name and the first part. They don't belong together. Download all parts again."
                )


def _expect_architecture(gguf_file: Path, header: GgufHeader) -> None:
    if not isinstance(header.metadata.get("general.architecture"), str):
        raise CorruptFileError(
            f"{harmless(str(gguf_file))} is not a whole GGUF model: it doesn't name its general.architecture. Download "
            "it again."
        )


def _parts(gguf_file: Path, count: Any) -> tuple[Path, ...]:
    """Return the files of a split model, which llama.cpp names NAME-00001-of-00003.gguf and so on."""
    named = _PART.fullmatch(gguf_file.name)
    if not isinstance(count, int) or count < 1 or not named or int(named["count"]) != count:
        raise CorruptFileError(
            f"{harmless(gguf_file.name)} is one of {one_line(str(count))} parts of a model, and its name does not say "
            "which: expected NAME-00001-of-0000N.gguf. Give the parts the names that they were published under."
        )
    files = tuple(
        gguf_file.with_name(f"{named['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)
    )
    if missing := [file.name for file in files if not file.is_file()]:
        raise CorruptFileError(
            f"{harmless(missing[0])} is missing: the model is split into {count} parts, and {len(missing)} of them are "
            f"not in {harmless(str(gguf_file.parent))}. Put all parts into one folder."
        )
    return files
