"""Which device and precision a model runs in, by what fits."""

import contextlib
import ctypes
import math
import re
from dataclasses import dataclass

import psutil
import torch

from layerwise.errors import ModelError
from layerwise.text import harmless

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

_WORKING_SPACE = 600 << 20
"""Bytes left for activations, logits and the interpreter beside the weights."""

_SHARE_FOR_STREAMING = 0.7
"""Of the memory that is free, what a streamed model may take where nothing else was said."""


@dataclass(frozen=True)
class Placement:
    """Where a model runs, in which precision, and whether it is there all the time."""

    device: torch.device
    dtype: torch.dtype
    budget: int | None = None
    """Bytes of this machine's memory for the whole process, where the model is streamed; else None."""


def placement_for(
    parameters: int, stored_dtype: str, device: str = "auto", dtype: str = "auto", memory: str | int = "auto"
) -> Placement:
    """Return where `parameters` weights stored as `stored_dtype` run.

    Device ``auto`` is the first of cuda, mps and cpu with room. Dtype ``auto`` is the checkpoint's
    own; on the CPU float32, if that fits, since half precision there is less exact, and slower
    unless the processor multiplies it itself. Where nothing has room, the model is streamed.

    Raises:
        ModelError: an unknown or absent device, or an unknown dtype or amount of memory, was asked for.
    """
    budget = bytes_of(memory)
    placement = placement_in_memory(parameters, stored_dtype, device, dtype, budget)
    if placement:
        return placement
    name, stored = _candidates(device)[0], DTYPES.get(stored_dtype, torch.float32)
    choices = _precisions(name, stored, dtype)
    chosen = choices[-1] if name != "cpu" or _multiplies_half_precision() else choices[0]
    return Placement(
        torch.device(name), chosen, budget or int(_SHARE_FOR_STREAMING * free_memory("cpu")) + used_memory()
    )


def placement_in_memory(
    parameters: int, stored_dtype: str, device: str = "auto", dtype: str = "auto", budget: int | None = None
) -> Placement | None:
    """Return the first placement with room for a whole model; on the CPU within `budget` bytes for this process."""
    stored = DTYPES.get(stored_dtype, torch.float32)
    for name in _candidates(device):
        free = free_memory(name)
        if name == "cpu" and budget is not None:
            free = min(free, budget - used_memory())
        for candidate in _precisions(name, stored, dtype):
            if parameters * candidate.itemsize + _WORKING_SPACE <= free:
                return Placement(torch.device(name), candidate)
    return None


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


def used_memory() -> int:
    """Return the bytes of memory that this process takes now."""
    return psutil.Process().memory_info().rss


def give_back_memory() -> None:
    """Hand freed memory back to the system, where the C library would keep it: reading a tokenizer leaves 200 MB."""
    with contextlib.suppress(OSError, AttributeError):  # glibc has this, other systems do it by themselves
        ctypes.CDLL(None).malloc_trim(0)


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


def _multiplies_half_precision() -> bool:
    """Return whether the processor has instructions for products in bfloat16, several times as fast as float32's."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def readable_size(size: int) -> str:
    """Return a size in bytes as people write it."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{math.ceil(size / 1e6)} MB"


def bytes_of(memory: str | int) -> int | None:
    """Return an amount of memory (``4GB``, ``512 MB``, ``3.5GiB``, or bytes as a number); None for ``auto``.

    Raises:
        ModelError: it cannot be read as one.
    """
    if memory == "auto":
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", str(memory), re.IGNORECASE)
    if not found:
        raise ModelError(f"Expected memory as in 4GB, 512MB or auto; got {harmless(str(memory))!r}.")
    number, unit, binary = found.groups()
    size = int(float(number) * (1024 if binary else 1000) ** " KMGT".index(unit.upper() or " "))
    if size <= 0:
        raise ModelError("Expected memory of more than 0 bytes. Leave --memory out to use what there is.")
    return size
