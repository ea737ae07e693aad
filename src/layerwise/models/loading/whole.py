"""A checkpoint read into memory as a whole."""

from typing import Any

from layerwise.errors import CorruptFileError
from layerwise.models.checkpoint.checkpoint import ADAPTER, Checkpoint
from layerwise.models.loading.checked_weights import checked_weights, empty_model_and_weights, expect_unpacked
from layerwise.models.loading.from_files import config_of, loading_errors, runs_own_code
from layerwise.models.machine.device import Placement
from layerwise.models.residency.assembly import fill_whole
from layerwise.models.weights.expectations import wrong_shape
from layerwise.types import Progress


def read_whole(checkpoint: Checkpoint, placement: Placement, progress: Progress | None = None) -> Any:
    """Return a checkpoint's transformers model with all its weights, where and in the precision that was chosen.

    Raises:
        ModelError: weights are missing, left over, of other shapes, or packed; or transformers fails over the files.
    """
    if checkpoint.gguf:
        return _read_one_by_one(checkpoint, placement, progress)
    if checkpoint.facts.doubled or (checkpoint.folder / ADAPTER).is_file():
        # transformers takes a tensor in several shards from the last file, whatever the index says; where an adapter's
        # settings were left behind, it looks for the model that they name.
        expect_unpacked(checkpoint, str(checkpoint.folder))
        return _read_one_by_one(checkpoint, placement, progress)
    return _read_by_transformers(checkpoint, placement)


def _read_one_by_one(checkpoint: Checkpoint, placement: Placement, progress: Progress | None) -> Any:
    """Return a model that is filled tensor by tensor, as one that is streamed would be."""
    hf_model, weights = empty_model_and_weights(checkpoint, placement.dtype)
    fill_whole(hf_model, weights, placement.dtype, placement.device, progress)
    return hf_model


def _read_by_transformers(checkpoint: Checkpoint, placement: Placement) -> Any:
    from transformers import AutoModelForCausalLM

    config = config_of(checkpoint)
    with loading_errors(checkpoint.folder, checkpoint.facts.config):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=placement.dtype,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=runs_own_code(checkpoint),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            device_map=None if placement.device.type == "cpu" else {"": placement.device},
        )
    hf_model, report = loaded
    checked_weights(checkpoint, hf_model, report["unexpected_keys"])
    for name, stored, expected in sorted(report["mismatched_keys"]):
        raise wrong_shape(name, stored, expected)
    missing = sorted(report["missing_keys"])
    if missing:
        raise CorruptFileError(
            f"{len(missing)} weights that {type(hf_model).__name__} needs are in none of the files of "
            f"{checkpoint.folder} ({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}); they would be "
            f"random numbers. Looked in {', '.join(f.name for f in checkpoint.facts.weight_files)}."
        )
    return hf_model.requires_grad_(False)
