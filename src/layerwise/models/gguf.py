"""A GGUF file made once into a folder in the hub's layout, which loads in seconds.

transformers reads GGUF correctly but slowly (most of it spent on parsing the vocabulary three
times), so its result is kept: float32 safetensors, tokenizer and config.
"""

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

from layerwise.errors import CorruptFileError, ModelError, UnsupportedModelError
from layerwise.files import sha256_of, written_whole
from layerwise.models.cache import (
    cache_folder,
    known_sha256,
    remember_sha256,
    remembered_sha256,
    writing_to_cache,
)
from layerwise.models.headers import GgufHeader, read_gguf_header
from layerwise.models.quiet import quiet_transformers
from layerwise.text import harmless
from layerwise.types import Progress

FORMAT = 1
"""Raise it when preparation changes: folders of another format are made anew."""

RECORD = "layerwise.json"

_WEIGHTS = "model.safetensors"

_TOKENIZER_SETTINGS = ("bos_token", "eos_token", "unk_token", "pad_token", "mask_token", "model_max_length")


def prepare(gguf_file: Path, *, weights_sum: str | None = None, progress: Progress | None = None) -> Path:
    """Return a folder in the hub's layout made from `gguf_file`: float32 safetensors, config, tokenizer.

    The folder lies in the cache under the file's name and checksum, is written whole or not at
    all, and carries a record (``layerwise.json``) of what it was made from. If it is there and
    its files have the sizes and its weights the checksum in the record, it is returned at once.

    Args:
        gguf_file: A GGUF file, version 2 or 3.
        weights_sum: The file's SHA-256 where it is known already; otherwise it is computed.
        progress: Told which step is running; the byte counts are those of the GGUF file.

    Raises:
        CorruptFileError: The file is not GGUF, damaged or cut short, or lacks some of the weights.
        UnsupportedModelError: transformers cannot map the architecture, or would leave part of it out.
        ModelError: The cache cannot be written.
    """
    try:
        known = weights_sum or known_sha256(gguf_file)
        if known and _is_whole(_folder_for(gguf_file, known), known):
            return _folder_for(gguf_file, known)
        header = read_gguf_header(gguf_file)  # before the sum: it is quick to see that a file is no GGUF
        sha256 = known or remembered_sha256(gguf_file)
    except OSError as error:
        raise ModelError(f"{harmless(str(gguf_file))} cannot be read: {error.strerror}.") from error
    target = _folder_for(gguf_file, sha256)
    if _is_whole(target, sha256):
        return target
    _check_usable(gguf_file, header)
    with writing_to_cache(), written_whole(target) as scratch:
        scratch.mkdir()
        _convert(gguf_file, header, scratch, progress)
        weights_sha256 = _write_record(scratch, gguf_file, sha256)
    remember_sha256(target / _WEIGHTS, weights_sha256)
    return target


def read_tokenizer(folder: Path) -> Any:
    """Return a prepared folder's tokenizer, in less than half of the time that `AutoTokenizer` takes.

    `AutoTokenizer` parses tokenizer.json three times over, twice of them in Python. What a prepared
    folder needs beyond that file is its special tokens and chat template.
    """
    from transformers import PreTrainedTokenizerFast

    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    template = folder / "chat_template.jinja"
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        name_or_path=str(folder),  # TransformerLens loads it a second time by this name
        chat_template=template.read_text(encoding="utf-8") if template.is_file() else None,
        **{name: settings[name] for name in _TOKENIZER_SETTINGS if name in settings},
    )


def _folder_for(gguf_file: Path, sha256: str) -> Path:
    return cache_folder() / "prepared" / f"{gguf_file.stem[:80]}-{sha256[:16]}"


def prepared_from(folder: Path) -> str:
    """Return the SHA-256 of the GGUF file that a prepared folder was made from."""
    return str(json.loads((folder / RECORD).read_text(encoding="utf-8"))["source_sha256"])


def _is_whole(folder: Path, sha256: str) -> bool:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return (
            record["format"] == FORMAT
            and record["source_sha256"] == sha256
            and all((folder / name).stat().st_size == size for name, size in record["files"].items())
            and remembered_sha256(folder / _WEIGHTS) == record["weights_sha256"]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _check_usable(gguf_file: Path, header: GgufHeader) -> None:
    """Stop at what transformers would read without complaint but not as llama.cpp does."""
    shown, metadata = harmless(gguf_file.name), header.metadata
    if metadata.get("split.count", 1) > 1:
        raise UnsupportedModelError(
            f"{shown} is one of {metadata['split.count']} parts of a model. Join them with "
            "`llama-gguf-split --merge FIRST_PART OUTPUT.gguf` and give the result."
        )
    if "tokenizer.ggml.tokens" not in metadata:
        raise UnsupportedModelError(
            f"{shown} ({harmless(header.architecture)}) holds no tokenizer, so no prompt can be read with it."
        )


def _convert(gguf_file: Path, header: GgufHeader, folder: Path, progress: Progress | None) -> None:
    """Write transformers' reading of the GGUF file into `folder`."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    tell = _teller(progress, gguf_file.stat().st_size)
    # Alone in a folder, because transformers prefers a tokenizer.json that lies beside a GGUF file.
    with tempfile.TemporaryDirectory() as alone, _without_output():
        link = Path(alone) / "model.gguf"
        link.symlink_to(gguf_file.resolve())
        with _conversion_errors(gguf_file, header):
            tell("tokenizer", 0)
            tokenizer = AutoTokenizer.from_pretrained(alone, gguf_file=link.name)
            tell("weights", 0)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                alone,
                gguf_file=link.name,
                dtype=torch.float32,
                # Without this, a machine that has the `kernels` package keeps the weights packed.
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
            )
        model, notes = loaded
        _check_complete(gguf_file, header, model.config, notes)
        # A model that came from GGUF refuses save_pretrained, though it is dense now.
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.hf_quantizer = None
        tell("weights", gguf_file.stat().st_size)
        try:
            model.save_pretrained(folder, max_shard_size="100TB")
            tokenizer.save_pretrained(folder)
        except SafetensorError as error:  # its own error for a full disk
            raise ModelError(f"The prepared weights could not be written to {cache_folder()}: {error}.") from error


def _teller(progress: Progress | None, size: int) -> Any:
    def tell(part: str, done: int) -> None:
        if progress:
            progress(f"Preparing the {part} (once)", done, size)

    return tell


@contextlib.contextmanager
def _without_output() -> Any:
    """Silence transformers, and the bar that its GGUF reader draws with tqdm directly."""
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _conversion_errors(gguf_file: Path, header: GgufHeader) -> Any:
    """Turn what transformers raises over a model that it cannot map into an UnsupportedModelError."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError) as error:
        raise UnsupportedModelError(
            f"transformers cannot make a causal language model of {harmless(gguf_file.name)}, whose "
            f"architecture is {harmless(header.architecture)!r}: {harmless(str(error))[:400]}. Use the "
            "model's safetensors checkpoint from the hub instead."
        ) from error


def _check_complete(gguf_file: Path, header: GgufHeader, config: Any, notes: dict[str, Any]) -> None:
    """Stop if some weights were made up, or if a position encoding was left out."""
    shown = harmless(gguf_file.name)
    made_up = sorted({*map(str, notes["missing_keys"]), *map(str, notes["mismatched_keys"])})
    if made_up:
        raise CorruptFileError(
            f"{shown} lacks {len(made_up)} of the weights of {type(config).__name__.removesuffix('Config')} "
            f"(such as {harmless(made_up[0])}); they would be random, and so would every readout. Get a "
            "complete file."
        )
    # transformers 5.23 reads neither of these for llama and most other architectures.
    scaling = str(header.metadata.get(f"{header.architecture}.rope.scaling.type", "none"))
    frequencies = [name for name in header.tensors if name.startswith(("rope_freqs", "rope_factors"))]
    if (frequencies or scaling != "none") and not _scales_rope(config):
        raise UnsupportedModelError(
            f"{shown} stretches its rotary positions "
            f"({frequencies[0] if frequencies else harmless(scaling)}), which transformers leaves out when "
            "it reads GGUF, so its readouts would be wrong. Use the model's safetensors checkpoint from "
            "the hub instead."
        )


def _scales_rope(config: Any) -> bool:
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(each for each in rope.values() if isinstance(each, dict))]
    return any(each.get("rope_type", "default") != "default" for each in kinds)


def _write_record(folder: Path, gguf_file: Path, sha256: str) -> str:
    """Write down what the folder was made from, and return the SHA-256 of its weights."""
    import transformers

    weights = folder / _WEIGHTS
    weights_sha256 = sha256_of(weights)
    record = {
        "format": FORMAT,
        "source": gguf_file.name,
        "source_sha256": sha256,
        "weights_sha256": weights_sha256,
        "weights_size": weights.stat().st_size,
        "transformers": transformers.__version__,
        "files": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return weights_sha256
