"""A model's files on this machine: brought here, and validated before anything heavy is imported."""

import hashlib
import json
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from layerwise.errors import CheckpointWarning, CorruptFileError, UnsupportedModelError
from layerwise.models.gguf.gguf_files import GgufModel, open_gguf
from layerwise.models.gguf.hub_folder import prepare
from layerwise.models.machine.cache import known_sha256, remembered_sha256
from layerwise.models.sources import bundled, hub
from layerwise.models.sources.names import Source
from layerwise.models.weights.safetensors_header import read_safetensors_header
from layerwise.models.weights.weight_files import StoredTensor
from layerwise.text import harmless, one_line
from layerwise.types import Progress

ADAPTER = "adapter_config.json"
"""The settings of a LoRA or another adapter, as peft names them."""

_INDEX = "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_TOKENIZERS = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
    ("tekken.json",),
    ("tokenizer_config.json",),
)
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True)
class CheckpointFacts:
    """What a checkpoint's config and file headers say."""

    config: dict[str, Any]
    weight_files: tuple[Path, ...]
    weight_bytes: int
    parameters: int
    """Elements of all stored tensors; tied weights are stored once."""
    dtype: str
    """The one that most bytes are stored in, as torch or ggml spells it."""
    tensors: dict[str, StoredTensor]
    """By name; where several files hold one, that of the file which the index names."""
    doubled: tuple[str, ...] = ()
    """Tensors that other files hold too, all but one of them out of date."""


@dataclass(frozen=True)
class Checkpoint:
    """A model's files, and where they came from."""

    source: Source
    folder: Path
    """In the hub's layout, but for the weights of a GGUF file."""
    revision: str | None
    """The hub's commit, where the files come from the hub."""
    gguf: GgufModel | None
    """Where the weights are in GGUF files."""
    facts: CheckpointFacts
    trust_remote_code: bool = False
    """Whether code that comes with the weights may be run."""

    @property
    def known_weights_sum(self) -> str | None:
        """The `weights_sum`, if it is known without hashing a file."""
        known = all(_is_hub_blob(file) or known_sha256(file) for file in self.facts.weight_files)
        return self.weights_sum if known else None

    @cached_property
    def weights_sum(self) -> str:
        """SHA-256 that identifies the weights; the first use may hash the files, which takes a while.

        From one GGUF file, it is that file's. Otherwise it is the sum over the lines
        ``<file name> <sha256>`` of the weight files, sorted and each ended by a newline.
        """
        files = self.facts.weight_files
        if self.gguf and len(files) == 1:
            return remembered_sha256(files[0])
        folder = files[0].parent if self.gguf else self.folder
        lines = sorted(f"{file.relative_to(folder).as_posix()} {_file_sum(file)}\n" for file in files)
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def locate(source: Source, progress: Progress | None = None, *, trust_remote_code: bool = False) -> Checkpoint:
    """Return the checkpoint of `source`, fetched and prepared where needed, and validated.

    With `trust_remote_code` it may bring code of its own, which is fetched and will be run.

    Raises:
        ModelError: The files cannot be had or used; each subclass says why and what to do.
    """
    if source.kind in ("bundled", "gguf"):
        file = bundled.pull(source.location, progress) if source.kind == "bundled" else Path(source.location)
        opened = open_gguf(file)
        folder = prepare(opened, progress)
        return Checkpoint(source, folder, None, opened, _facts(_read_config(folder), opened.files, opened.tensors))
    folder, revision = Path(source.location), None
    if source.kind == "hub":
        folder = hub.fetch(source.location, source.revision, progress, with_code=trust_remote_code)
        revision = hub.commit_of(folder)
    return Checkpoint(source, folder, revision, None, inspect(folder), trust_remote_code)


def inspect(folder: Path) -> CheckpointFacts:
    """Return what `folder` holds, from config.json and the headers of the safetensors files.

    Raises:
        CorruptFileError: A file is missing, damaged or cut short, or the tokenizer is missing.
        UnsupportedModelError: The weights are there as pickles only, or are an adapter's.
    """
    _refuse_adapters(folder)
    config = _read_config(folder)
    files, shard_of = _weight_files(folder)
    tensors: dict[str, StoredTensor] = {}
    doubled: set[str] = set()
    for file in files:
        held = read_safetensors_header(file)
        promised = {name for name, shard in shard_of.items() if shard == file}
        if lacking := sorted(promised - held.keys()):
            raise CorruptFileError(
                f"{_shown(file)} should hold {one_line(lacking[0])} by {_INDEX} and does not "
                f"({len(lacking)} tensors missing). Download the model again."
            )
        for name, tensor in held.items():
            if name in tensors:
                doubled.add(name)
            if name not in tensors or shard_of.get(name) == file:
                tensors[name] = tensor
    if ambiguous := sorted(doubled - shard_of.keys()):
        raise CorruptFileError(
            f"{one_line(ambiguous[0])} stands in several weight files of {_shown(folder)}, and {_INDEX} does not say "
            "which of them counts. Download the model again."
        )
    if not any(all((folder / name).is_file() for name in names) for names in _TOKENIZERS):
        raise CorruptFileError(
            f"{_shown(folder)} has no tokenizer: expected tokenizer.json, tokenizer.model, tekken.json, or "
            "vocab.json with merges.txt. Copy the tokenizer's files there from where the model came from."
        )
    if not tensors:
        raise CorruptFileError(f"{_shown(folder)} holds safetensors files without any tensor. Download it again.")
    return _facts(config, files, tensors, tuple(sorted(doubled)))


def _refuse_adapters(folder: Path) -> None:
    """Stop at a folder whose weights are (also) a LoRA's: alone they are no model, and beside one nothing adds them."""
    if not (folder / ADAPTER).is_file():
        return
    weights = next((name for name in _ADAPTER_WEIGHTS if (folder / name).is_file()), None)
    if (folder / "config.json").is_file() and weights is None:
        return  # left over from before the adapter was merged
    base = _read_json(folder / ADAPTER).get("base_model_name_or_path")
    of = f" of {one_line(base)}" if isinstance(base, str) and base else ""
    whole = any((folder / name).is_file() for name in ("model.safetensors", _INDEX))
    beside = f", or remove {weights} if the model's weights here have it merged in already" if whole else ""
    raise UnsupportedModelError(
        f"{_shown(folder)} holds an adapter{of} ({ADAPTER}): changes to a model's weights, which mean nothing without "
        "it. Merge it into its model and save that: "
        f"`AutoPeftModelForCausalLM.from_pretrained(…).merge_and_unload().save_pretrained(…)` with peft{beside}."
    )


def _facts(
    config: dict[str, Any],
    files: tuple[Path, ...],
    tensors: dict[str, StoredTensor],
    doubled: tuple[str, ...] = (),
) -> CheckpointFacts:
    by_dtype: Counter[str] = Counter()
    for tensor in tensors.values():
        by_dtype[tensor.dtype] += tensor.size_bytes
    parameters = sum(tensor.parameters for tensor in tensors.values())
    dtype = by_dtype.most_common(1)[0][0]
    return CheckpointFacts(config, files, sum(by_dtype.values()), parameters, dtype, tensors, doubled)


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
        if (folder / _INDEX).is_file():
            warnings.warn(
                f"{_shown(folder)} holds both model.safetensors and an index of shards ({_INDEX}). The first is "
                "read, as transformers does, and the shards are not. Take out what is left over.",
                CheckpointWarning,
                stacklevel=2,
            )
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
    parts = PurePosixPath(name).parts + PureWindowsPath(name).parts if isinstance(name, str) else ()
    if not parts or ".." in parts or any(p.endswith(("/", "\\", ":")) for p in parts):
        shown = repr(one_line(name)) if isinstance(name, str) else f"({type(name).__name__})"
        raise CorruptFileError(
            f"{_shown(folder / _INDEX)} names the weight file {shown}, which is outside the "
            "folder. Don't use this checkpoint unless you know why."
        )
    path = folder / name
    try:
        there = path.is_file()
    except OSError:  # a name too long for the file system
        there = False
    if not there:
        shown = f"{_shown(folder)}/{one_line(name)}"
        raise CorruptFileError(f"{shown} is missing: {_INDEX} says that it holds weights. Download it again.")
    return path


def _file_sum(file: Path) -> str:
    """Return a file's SHA-256; the hub's cache already names large files by theirs."""
    return file.resolve().name if _is_hub_blob(file) else remembered_sha256(file)


def _is_hub_blob(file: Path) -> bool:
    return file.is_symlink() and re.fullmatch(r"[0-9a-f]{64}", file.resolve().name) is not None


def _shown(path: Path) -> str:
    return harmless(str(path))
