"""The control for what a model has learned: its architecture with random weights."""

import re
from typing import Any

import torch

from layerwise.errors import DoesNotFitError
from layerwise.models.checkpoint.checkpoint import Checkpoint
from layerwise.models.libraries.quiet import quiet_transformers
from layerwise.models.loading.from_files import model_of, read_tokenizer
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.loading.taking_apart import count_parameters, take_apart
from layerwise.models.machine.device import (
    bytes_of,
    free_memory,
    give_back_memory,
    placement_for,
    placement_in_memory,
    readable_size,
)
from layerwise.models.residency.assembly import empty_model
from layerwise.models.weights.expectations import expect_finite

_SEED = 0
"""Another seed would make other controls of the same name, so it stays what it is."""


def load_random(name: str, checkpoint: Checkpoint, device: str, dtype: str, memory: str | int) -> LoadedModel:
    """Return a checkpoint's architecture with random weights, run as the checkpoint itself would be.

    They are drawn in float32 on the CPU, so device and precision change no more than the rounding.
    """
    with quiet_transformers():
        hf_tokenizer = read_tokenizer(checkpoint)
        # Counted in the model: packed weights are fewer in the files.
        parameters = count_parameters(model_of(checkpoint, empty_model, torch.float32))
        give_back_memory()
        placement = placement_for(parameters, checkpoint.facts.dtype, device, dtype, memory)
        drawn_here = placement_in_memory(parameters, "float32", "cpu", "float32", bytes_of(memory))
        if placement.budget is not None or drawn_here is None:
            kept = readable_size(parameters * placement.dtype.itemsize)
            moved = "" if placement.device.type == "cpu" else f", then {kept} on {placement.device.type}"
            raise DoesNotFitError(
                f"{name} does not fit: random weights are in no file that they could be streamed from, so all "
                f"{parameters:,} have to be in memory, {readable_size(parameters * 4)} on the CPU, where they are "
                f"drawn in float32{moved}, beside the program and its activations. {readable_size(free_memory('cpu'))} "
                f"of the CPU's memory are free{'' if memory == 'auto' else f', and --memory allows {memory} in all'}. "
                "Make room, or use a smaller model."
            )
        hf_model = model_of(checkpoint, draw_model, torch.float32)
        round_and_move(hf_model, placement.dtype, placement.device)
        expect_finite(hf_model, name)
        return take_apart(name, hf_model, hf_tokenizer, checkpoint)


def draw_model(config: Any, dtype: torch.dtype = torch.float32, *, trust_remote_code: bool = False) -> Any:
    """Return the transformers model of a configuration, its weights as transformers initialises them.

    They are the same each time, as long as transformers, PyTorch and the processor's kind of vector
    instructions are (PyTorch draws other numbers without AVX2). Nobody else's random state moves.
    """
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.default_generator.manual_seed(_SEED)  # torch.manual_seed would reseed accelerators too
        hf_model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=trust_remote_code)
    return hf_model.eval().requires_grad_(False)


def round_and_move(hf_model: Any, dtype: torch.dtype, device: torch.device) -> None:
    """Round a model's float32 weights to `dtype`, but those that transformers never reads in it, and move it."""
    kept = hf_model._get_dtype_plan(dtype)
    for name, parameter in hf_model.named_parameters():
        if not any(re.search(pattern.replace("*", ".*"), name) for pattern in kept):
            parameter.data = parameter.data.to(dtype)
    hf_model.to(device)  # not to(dtype), which would round the positions' frequencies as well
