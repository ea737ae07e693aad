"""What a GGUF file holds beside its weights, made once into a folder in the hub's layout.

Tokenizer and configuration are built from the metadata, which takes seconds for a large vocabulary, so
the result is kept. The weights stay where they are, and are dequantised when a model is loaded or run.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerwise.errors import LayerwiseError, UnsupportedModelError
from layerwise.files import written_whole
from layerwise.models.gguf.gguf_files import FACTORS, GgufModel
from layerwise.models.libraries.quiet import quiet_transformers
from layerwise.models.libraries.refused_settings import what_failed
from layerwise.models.machine.cache import cache_folder, writing_to_cache
from layerwise.text import harmless
from layerwise.types import Progress

if TYPE_CHECKING:
    from layerwise.models.gguf.family import Description

FORMAT = 6
"""Raise it when preparation changes: folders of another format are made anew."""

_RECORD = "layerwise.json"

_TOKENIZER_SETTINGS = ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "model_max_length")


def prepare(gguf: GgufModel, progress: Progress | None = None) -> Path:
    """Return a folder with a GGUF model's config.json and tokenizer, in the hub's layout.

    The folder lies in the cache under the file's name and the checksum of its metadata, is written
    whole or not at all, and carries a record (``layerwise.json``) of what it was made from. If it is
    there, and its files have the sizes in the record, it is returned at once.

    Args:
        gguf: version 2 or 3.
        progress: told which step is running.

    Raises:
        UnsupportedModelError: the architecture is not read from GGUF, or something in the file is not understood.
        ModelError: The cache cannot be written.
    """
    metadata_sum = _metadata_sum(gguf)
    target = _target(gguf, metadata_sum)
    if _is_whole(target, metadata_sum):
        return target
    if "tokenizer.ggml.tokens" not in gguf.header.metadata:
        raise UnsupportedModelError(
            f"{harmless(gguf.files[0].name)} ({harmless(gguf.header.architecture)}) holds no tokenizer, so no prompt "
            "can be read with it."
        )
    with writing_to_cache(), written_whole(target) as scratch:
        scratch.mkdir()
        _convert(gguf, scratch, progress)
        _write_record(scratch, gguf, metadata_sum)
    return target


def is_prepared(gguf: GgufModel) -> bool:
    """Return whether `prepare` would find its work done."""
    metadata_sum = _metadata_sum(gguf)
    return _is_whole(_target(gguf, metadata_sum), metadata_sum)


def read_tokenizer(folder: Path) -> Any:
    """Return a prepared folder's tokenizer, in less than half of the time that `AutoTokenizer` takes.

    `AutoTokenizer` parses tokenizer.json three times over, twice of them in Python. What a prepared
    folder needs beyond that file is its special tokens and chat template.
    """
    from transformers import PreTrainedTokenizerFast

    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    template = folder / "chat_template.jinja"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        name_or_path=str(folder),  # TransformerLens loads it a second time by this name
        chat_template=template.read_text(encoding="utf-8") if template.is_file() else None,
    )
    for name in _TOKENIZER_SETTINGS:
        if name in settings:
            setattr(tokenizer, name, settings[name])  # given to the constructor, a normal token would become special
    return tokenizer


def _target(gguf: GgufModel, metadata_sum: str) -> Path:
    return cache_folder() / "prepared" / f"{gguf.files[0].stem[:80]}-{metadata_sum[:16]}"


def _metadata_sum(gguf: GgufModel) -> str:
    """Return the SHA-256 of the first file up to its first tensor, and of the tensors that belong to the settings."""
    digest = hashlib.sha256()
    with gguf.files[0].open("rb") as opened:
        digest.update(opened.read(gguf.header.size_bytes))
    for tensor in (gguf.tensors[name] for name in FACTORS if name in gguf.tensors):
        with tensor.file.open("rb") as opened:
            opened.seek(tensor.offset)
            digest.update(opened.read(tensor.size_bytes))
    return digest.hexdigest()


def _is_whole(folder: Path, metadata_sum: str) -> bool:
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        return (
            record["format"] == FORMAT
            and record["metadata_sha256"] == metadata_sum
            and all((folder / name).stat().st_size == size for name, size in record["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _convert(gguf: GgufModel, folder: Path, progress: Progress | None) -> None:
    """Write a model's configuration and tokenizer into `folder`."""
    from layerwise.models.gguf.description import describe  # PyTorch comes with it
    from layerwise.models.gguf.tokenizer import build_tokenizer

    def tell(what: str) -> None:
        if progress:
            progress(f"Preparing the {what} (once)", 0, None)

    tell("configuration")
    with _conversion_errors(gguf):
        # Whole: what equals the class's default now may not do so in the next transformers.
        configuration_of(describe(gguf)).to_json_file(folder / "config.json", use_diff=False)
    tell("tokenizer")
    tokenizer = build_tokenizer(gguf)
    with quiet_transformers(), _system_errors():
        tokenizer.save_pretrained(folder)


def configuration_of(description: "Description") -> Any:
    """Return transformers' configuration of a described model."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    with quiet_transformers():
        config = AutoConfig.for_model(description.model_type, **description.settings)
    config.architectures = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[config.model_type]]
    return config


@contextlib.contextmanager
def _system_errors() -> Iterator[None]:
    """Raise what the system says no to as an OSError; the tokenizers library makes plain Exceptions of it."""
    try:
        yield
    except Exception as error:
        if number := re.search(r"\(os error (\d+)\)$", str(error)):
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
        raise


@contextlib.contextmanager
def _conversion_errors(gguf: GgufModel) -> Any:
    """Turn what transformers raises over a model that it cannot map into an UnsupportedModelError."""
    try:
        yield
    except (LayerwiseError, OSError, MemoryError):
        raise
    except Exception as error:
        raise UnsupportedModelError(
            f"transformers cannot make a causal language model of {harmless(gguf.files[0].name)}, whose "
            f"architecture is {harmless(gguf.header.architecture)!r}: {what_failed(error, gguf.header.metadata)}. Use "
            "the model's safetensors checkpoint from the hub instead."
        ) from error


def _write_record(folder: Path, gguf: GgufModel, metadata_sum: str) -> None:
    """Write down what the folder was made from."""
    import transformers

    record = {
        "format": FORMAT,
        "source": gguf.files[0].name,
        "metadata_sha256": metadata_sum,
        "transformers": transformers.__version__,
        "files": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    }
    (folder / _RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
