"""Our own writer of files as llama.cpp's converter makes them, with the names that the `gguf` package has."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

from benchmarks.gguf.case import Case
from benchmarks.gguf.layouts import LAYOUTS
from benchmarks.gguf.layouts.layout import Layout, keep
from benchmarks.gguf.vocabulary import EOS, MERGES, PAD, VOCABULARY

_ARCHITECTURES = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
_ALL_FLOAT32 = 0


def write(case: Case, hf_model: Any, path: Path) -> Path:
    """Write the checkpoint's file, and return where it is.

    Raises:
        ValueError: a tensor has no name in files of the architecture.
    """
    layout, settings = LAYOUTS[case.architecture], hf_model.config.to_dict()
    writer = gguf.GGUFWriter(path, case.architecture)
    writer.add_name(case.name)
    writer.add_file_type(_ALL_FLOAT32)
    for name, value in (layout.keys(settings) | case.keys).items():
        add_key(writer, f"{case.architecture}.{name}", value)
    for name, value in tokenizer_keys().items():
        add_key(writer, name, value)
    for name, tensor in tensors(case.architecture, layout, hf_model).items():
        writer.add_tensor(name, np.ascontiguousarray(tensor.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(architecture: str, layout: Layout, hf_model: Any) -> dict[str, torch.Tensor]:
    """Return the file's tensors by name."""
    settings = hf_model.config.to_dict()
    names = gguf.get_tensor_name_map(_ARCHITECTURES[architecture], layout.keys(settings)["block_count"])
    found = dict(layout.extra(settings))
    for name, tensor in layout.before(_own_tensors(hf_model), settings).items():
        if name.endswith(layout.drop):
            continue
        bare = name.removesuffix(".weight").removesuffix(".bias")
        change = next((change for end, change in layout.changes.items() if bare.endswith(end)), keep)
        for part, changed in change(name, tensor, settings).items():
            found[_known(names, part, architecture)] = changed
    return found


def _known(names: gguf.TensorNameMap, part: str, architecture: str) -> str:
    """Return a tensor's name in the file; one after `=` is that already."""
    if part.startswith("="):
        return part[1:]
    if (name := names.get_name(part, try_suffixes=(".weight", ".bias"))) is None:
        raise ValueError(f"No name for {part} in files of the architecture {architecture}.")
    return name


def add_key(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    """Add a key of the type that its value has: whole numbers without a sign, 32 bits. None is left out."""
    match value:
        case None:
            pass
        case bool():
            writer.add_bool(name, value)
        case int():
            writer.add_uint32(name, value)
        case float():
            writer.add_float32(name, value)
        case str():
            writer.add_string(name, value)
        case _:
            writer.add_array(name, value)


def tokenizer_keys() -> dict[str, Any]:
    """Return the keys of the vocabulary that all cases share."""
    kinds = [gguf.TokenType.NORMAL] * len(VOCABULARY)
    kinds[PAD] = kinds[EOS] = gguf.TokenType.CONTROL
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": list(VOCABULARY),
        "tokenizer.ggml.token_type": [int(kind) for kind in kinds],
        "tokenizer.ggml.merges": list(MERGES),
        "tokenizer.ggml.eos_token_id": EOS,
        "tokenizer.ggml.padding_token_id": PAD,
        "tokenizer.ggml.add_bos_token": False,
    }


def _own_tensors(hf_model: Any) -> dict[str, torch.Tensor]:
    """Return the model's tensors by name, those it has twice once."""
    tied = {*(getattr(hf_model, "all_tied_weights_keys", None) or {})}
    return {name: tensor.detach() for name, tensor in hf_model.state_dict().items() if name not in tied}
