"""A model's files on this machine: brought here, and validated before anything heavy is imported."""

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from layerwise.errors import CorruptFileError, UnsupportedModelError
from layerwise.models import bundled, gguf, hub
from layerwise.models.cache import remembered_sha256
from layerwise.models.headers import StoredTensor, read_safetensors_header
from layerwise.models.names import Source
from layerwise.text import harmless
from layerwise.types import Progress

_INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("tokenizer_config.json",),
)


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder in the hub's layout, and where it came from."""

    source: Source
    folder: Path
    revision: str | None
    """The hub's commit, where the files come from the hub."""
    size_bytes: int
    """Of all weights as stored."""
    from_gguf: bool
    """Whether the folder was prepared from a GGUF file, and its weights thus rounded by quantisation."""

    @cached_property
    def weights_sum(self) -> str:
        """SHA-256 that identifies the weights; the first use may hash the files, which takes a while.

        From GGUF, it is the sum of the GGUF file. Otherwise it is the sum over the lines
        ``<file name> <sha256>`` of the safetensors files, sorted and each ended by a newline.
        """
        if self.from_gguf:
            return gguf.prepared_from(self.folder)
        files = inspect(self.folder).weight_files
        lines = sorted(f"{file.relative_to(self.folder).as_posix()} {_file_sum(file)}\n" for file in files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint's config and file headers say."""

    config: dict[str, Any]
    weight_files: tuple[Path, ...]
    weight_bytes: int
    parameters: int
    """Elements of all stored tensors; tied weights are stored once."""
    dtype: str
    """The one that most bytes are stored in, as torch spells it."""


def locate(source: Source, progress: Progress | None = None) -> Checkpoint:
    """Return the checkpoint of `source`, fetched and prepared where needed, and validated.

    Raises:
        ModelError: The files cannot be had or used; each subclass says why and what to do.
    """
    from_gguf = source.kind in ("bundled", "gguf")
    if source.kind == "bundled":
        file = bundled.pull(source.location, progress)
        folder = gguf.prepare(file, weights_sum=bundled.BUNDLED[source.location].sha256, progress=progress)
    elif source.kind == "gguf":
        folder = gguf.prepare(Path(source.location), progress=progress)
    elif source.kind == "hub":
        folder = hub.fetch(source.location, source.revision, progress)
    else:
        folder = Path(source.location)
    revision = hub.commit_of(folder) if source.kind == "hub" else None
    return Checkpoint(source, folder, revision, inspect(folder).weight_bytes, from_gguf)


def inspect(folder: Path) -> CheckpointFacts:
    """Return what `folder` holds, from config.json and the headers of the safetensors files.

    Raises:
        CorruptFileError: A file is missing, damaged or cut short, or the tokenizer is missing.
        UnsupportedModelError: The weights are there as pickles only.
    """
    config = _read_config(folder)
    files, shard_of = _weight_files(folder)
    tensors: list[StoredTensor] = []
    for file in files:
        held = read_safetensors_header(file)
        promised = {name for name, shard in shard_of.items() if shard == file}
        if lacking := sorted(promised - held.keys()):
            raise CorruptFileError(
                f"{_shown(file)} should hold {harmless(lacking[0])} by {_INDEX} and does not "
                f"({len(lacking)} tensors missing). Download the model again."
            )
        tensors.extend(held.values())
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        raise CorruptFileError(
            f"{_shown(folder)} has no tokenizer: expected tokenizer.json, tokenizer.model, or vocab.json "
            "with merges.txt. Copy the tokenizer's files there from where the model came from."
        )
    by_dtype: Counter[str] = Counter()
    for tensor in tensors:
        by_dtype[tensor.dtype] += tensor.size_bytes
    if not by_dtype:
        raise CorruptFileError(f"{_shown(folder)} holds safetensors files without any tensor. Download it again.")
    parameters = sum(tensor.parameters for tensor in tensors)
    return CheckpointFacts(config, files, sum(by_dtype.values()), parameters, by_dtype.most_common(1)[0][0])


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        ggufs = sorted(file.name for file in folder.glob("*.gguf"))
        hint = f" To use a GGUF file, name it: {_shown(folder / ggufs[0])}." if ggufs else ""
        raise CorruptFileError(f"{_shown(folder)} has no config.json, so it is not a model in the hub's layout.{hint}")
    config = _read_json(path)
    if not isinstance(config.get("model_type"), str):
        raise CorruptFileError(
            f"{_shown(path)} names no model_type, so the architecture is unknown. Take the config.json that "
            "belongs to the model."
        )
    return config


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptFileError(f"{_shown(path)} cannot be read as JSON ({error}). Download it again.") from error
    if not isinstance(content, dict):
        raise CorruptFileError(f"{_shown(path)} should hold a JSON object. Download it again.")
    return content


def _weight_files(folder: Path) -> tuple[tuple[Path, ...], dict[str, Path]]:
    """Return the safetensors files that transformers would read, and by the index, each tensor's file."""
    whole = folder / "model.safetensors"
    if whole.is_file():
        return (whole,), {}
    if (folder / _INDEX).is_file():
        weight_map = _read_json(folder / _INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise CorruptFileError(f"{_shown(folder / _INDEX)} has no weight_map. Download it again.")
        shard_of = {name: _shard(folder, shard) for name, shard in weight_map.items()}
        return tuple(sorted(set(shard_of.values()))), shard_of
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles:
        raise UnsupportedModelError(
            f"{_shown(folder)} has its weights only as pickles ({harmless(pickles[0])}), and unpickling a "
            "file can run any code, so layerwise doesn't. Convert them to safetensors with "
            "`save_pretrained` in transformers, if you trust the file."
        )
    raise CorruptFileError(f"{_shown(folder)} has neither model.safetensors nor {_INDEX}. Download it again.")


def _shard(folder: Path, name: Any) -> Path:
    """Return the path of a file named by the index, which must lie in the folder."""
    parts = PurePosixPath(str(name)).parts + PureWindowsPath(str(name)).parts
    if not isinstance(name, str) or not parts or ".." in parts or any(p.endswith(("/", "\\", ":")) for p in parts):
        raise CorruptFileError(
            f"{_shown(folder / _INDEX)} names the weight file {harmless(str(name))!r}, which is outside the "
            "folder. Don't use this checkpoint unless you know why."
        )
    path = folder / name
    if not path.is_file():
        raise CorruptFileError(f"{_shown(path)} is missing: {_INDEX} says that it holds weights. Download it again.")
    return path


def _file_sum(file: Path) -> str:
    """Return a file's SHA-256; the hub's cache already names large files by theirs."""
    if file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", file.resolve().name):
        return file.resolve().name
    return remembered_sha256(file)


def _shown(path: Path) -> str:
    return harmless(str(path))
