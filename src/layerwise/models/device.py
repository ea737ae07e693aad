"""Which device and precision a model runs in, by what fits."""

from dataclasses import dataclass

import psutil
import torch

from layerwise.errors import DoesNotFitError, ModelError

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_WORKING_SPACE = 600 << 20
"""Bytes left for activations, logits and the interpreter beside the weights."""


@dataclass(frozen=True)
class Placement:
    """Where a model runs, and in which precision."""

    device: torch.device
    dtype: torch.dtype


def place(parameters: int, stored_dtype: str, device: str = "auto", dtype: str = "auto") -> Placement:
    """Return where `parameters` weights stored as `stored_dtype` run.

    Device ``auto`` is the first of cuda, mps and cpu with room. Dtype ``auto`` is the checkpoint's
    own; on the CPU float32, if that fits, since half precision there is slower and less exact.

    Raises:
        ModelError: an unknown or absent device, or an unknown dtype, was asked for.
        DoesNotFitError: nothing that was allowed has room.
    """
    placement, tried = find_room(parameters, stored_dtype, device, dtype)
    if placement:
        return placement
    raise DoesNotFitError(
        f"The model's {parameters:,} weights fit nowhere on this machine: {'; '.join(tried)}. Use a smaller "
        "model or one of fewer bits per weight, close other programs, or ask for --dtype bfloat16."
    )


def find_room(
    parameters: int, stored_dtype: str, device: str = "auto", dtype: str = "auto"
) -> tuple[Placement | None, list[str]]:
    """Return the first placement with room, or None, and what was tried before it in words."""
    stored = DTYPES.get(stored_dtype, torch.float32)
    tried = []
    for name in _candidates(device):
        for candidate in _precisions(name, stored, dtype):
            needed, free = parameters * candidate.itemsize + _WORKING_SPACE, free_memory(name)
            if needed <= free:
                return Placement(torch.device(name), candidate), tried
            tried.append(f"{name} in {dtype_name(candidate)} needs {_gb(needed)}, {_gb(free)} are free")
    return None, tried


def available_devices() -> tuple[str, ...]:
    """Return the devices of this machine, fastest first."""
    cuda = ("cuda",) if torch.cuda.is_available() else ()
    mps = ("mps",) if torch.backends.mps.is_available() else ()
    return (*cuda, *mps, "cpu")


def free_memory(device: str) -> int:
    """Return the bytes that a model could still take on a device."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    if device == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return psutil.virtual_memory().available


def dtype_name(dtype: torch.dtype) -> str:
    """Return a dtype's plain name: ``bfloat16``, not ``torch.bfloat16``."""
    return str(dtype).removeprefix("torch.")


def _candidates(device: str) -> tuple[str, ...]:
    if device == "auto":
        return available_devices()
    if device not in DEVICES:
        raise ModelError(f"Unknown device {device!r}; expected one of {', '.join(DEVICES)}.")
    if device not in available_devices():
        raise ModelError(
            f"Device {device!r} was asked for, but PyTorch {torch.__version__} finds only "
            f"{', '.join(available_devices())} here. Leave --device out to use what there is."
        )
    return (device,)


def _precisions(device: str, stored: torch.dtype, dtype: str) -> tuple[torch.dtype, ...]:
    if dtype != "auto":
        if dtype not in DTYPES:
            raise ModelError(f"Unknown dtype {dtype!r}; expected auto, {', '.join(DTYPES)}.")
        return (DTYPES[dtype],)
    return (torch.float32, stored) if device == "cpu" and stored != torch.float32 else (stored,)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
