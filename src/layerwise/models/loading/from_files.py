"""What transformers makes of a checkpoint's files: its configuration, its tokenizer, a model without its weights."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from layerwise.errors import CorruptFileError, LayerwiseError, MissingDependencyError
from layerwise.models.anatomy.decoder import text_config
from layerwise.models.checkpoint.checkpoint import Checkpoint
from layerwise.models.gguf import hub_folder
from layerwise.models.libraries.refused_settings import what_failed
from layerwise.text import harmless


def config_of(checkpoint: Checkpoint) -> Any:
    """Return a checkpoint's configuration, with a number of blocks that its weights can be enough for."""
    from transformers import AutoConfig

    stored = len(checkpoint.facts.tensors)
    with loading_errors(settings_file(checkpoint), checkpoint.facts.config):
        config = AutoConfig.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=runs_own_code(checkpoint)
        )
        depth = text_config(config).num_hidden_layers
        if not 1 <= depth <= stored:
            raise CorruptFileError(
                f"{harmless(str(settings_file(checkpoint)))} asks for {depth:,} blocks; expected 1 to {stored:,}, for "
                "the weight files hold no more tensors than that. It belongs to another model, or was edited. "
                "Download it again."
            )
    return config


def model_of(checkpoint: Checkpoint, make: Callable[..., Any], dtype: torch.dtype) -> Any:
    """Return what `make` makes of a checkpoint's configuration."""
    config = config_of(checkpoint)
    with loading_errors(settings_file(checkpoint), checkpoint.facts.config):
        return make(config, dtype, trust_remote_code=runs_own_code(checkpoint))


def read_tokenizer(checkpoint: Checkpoint) -> Any:
    """Return a checkpoint's transformers tokenizer."""
    from transformers import AutoTokenizer

    config = None if checkpoint.gguf else config_of(checkpoint)
    with loading_errors(checkpoint.folder):
        if checkpoint.gguf:
            return hub_folder.read_tokenizer(checkpoint.folder)
        # Left to itself, transformers asks at the terminal whether a tokenizer's own code may run.
        return AutoTokenizer.from_pretrained(
            checkpoint.folder, config=config, local_files_only=True, trust_remote_code=checkpoint.trust_remote_code
        )


def settings_file(checkpoint: Checkpoint) -> Path:
    """Return where a checkpoint's configuration comes from."""
    return checkpoint.gguf.files[0] if checkpoint.gguf else checkpoint.folder / "config.json"


def runs_own_code(checkpoint: Checkpoint) -> bool:
    """Return whether the model's own code is needed and trusted; what transformers knows, it knows better."""
    from transformers import CONFIG_MAPPING

    return checkpoint.trust_remote_code and checkpoint.facts.config["model_type"] not in CONFIG_MAPPING


@contextlib.contextmanager
def loading_errors(path: Path, settings: Mapping[str, Any] = MappingProxyType({})) -> Iterator[None]:
    """Give transformers' many ways to fail over files one name. What it raises over a damaged one may be anything."""
    try:
        yield
    except (LayerwiseError, MemoryError):
        raise
    except ImportError as error:  # packages that unpack quantised weights
        raise MissingDependencyError(
            f"transformers needs another package to load {path}: {error}. Install it, or use a GGUF file or an "
            "unquantised checkpoint of the model."
        ) from error
    except Exception as error:
        raise CorruptFileError(
            f"transformers could not load {harmless(str(path))}: {what_failed(error, settings)}"
        ) from error
