"""The control for what a model has learned: its architecture with random weights."""

import re
from typing import Any

import torch

_SEED = 0
"""Another seed would make other controls of the same name, so it stays what it is."""


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
