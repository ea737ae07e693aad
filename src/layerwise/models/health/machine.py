"""Processor, memory, accelerators."""

import math
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from layerwise.models.health.finding import Finding
from layerwise.text import one_line

_PROCESSORS = Path("/proc/cpuinfo")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
_MEMORY_LIMIT = Path("/sys/fs/cgroup/memory.max")

_LEAST_MEMORY = 1_000_000_000
"""Below this not even a model that is streamed runs."""


def processor_and_memory() -> Iterator[Finding]:
    """Yield what is known of processor and memory."""
    import psutil
    import torch

    usable, threads = usable_cores(), torch.get_num_threads()
    cores = psutil.cpu_count(logical=False) or os.cpu_count()
    yield Finding(
        "machine",
        "processor",
        "ok",
        f"{processor()}; {cores} cores, {os.cpu_count()} hardware threads; {torch.backends.cpu.get_cpu_capability()}",
    )
    crowded = threads > usable
    yield Finding(
        "machine",
        "threads",
        "note" if crowded else "ok",
        f"PyTorch computes in {threads}; this process may use {usable} processors",
        f"Set OMP_NUM_THREADS={usable}: threads that share a processor wait for one another." if crowded else "",
    )
    memory = psutil.virtual_memory()
    short = memory.available < _LEAST_MEMORY
    yield Finding(
        "machine",
        "memory",
        "problem" if short else "ok",
        f"{_size(memory.available)} free of {_size(memory.total)}",
        "Close other programs: no model runs in less than 1 GB." if short else "",
    )
    limit = _number_in(_MEMORY_LIMIT)
    if limit is not None and limit < memory.total:
        advice = f"Pass --memory {limit * 0.8 / 1e9:.1f}GB, or the system may end the process without a word."
        yield Finding("machine", "memory of this container", "note", f"limited to {_size(limit)}", advice)


def devices() -> Iterator[Finding]:
    """Yield each device that PyTorch finds, and an accelerator that it misses."""
    import torch

    from layerwise.models.machine.device import available_devices, free_memory

    found = available_devices()
    for device in found:
        about = _size(free_memory(device)) + " free"
        if device == "cuda":
            about = f"{one_line(torch.cuda.get_device_name())}, {about} of {_size(torch.cuda.mem_get_info()[1])}"
        yield Finding("devices", device, "ok", about)
    if "cuda" not in found and shutil.which("nvidia-smi"):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        yield Finding(
            "devices",
            "cuda",
            "note",
            f"there is an NVIDIA driver here, and PyTorch {torch.__version__} ({built}) finds no device",
            "Install PyTorch for your driver's CUDA version: https://pytorch.org/get-started/locally.",
        )


def usable_cores() -> int:
    """Return how many processors this process may use, by its affinity and its container's share of time."""
    from layerwise.compiled import cores  # imports torch, which may be what is broken here

    allowed = cores()
    try:
        quota, period = _CPU_QUOTA.read_text("ascii").split()
        return min(allowed, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # no container, or one without a limit: "max"
        return allowed


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = _PROCESSORS.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return one_line(next(iter(names), "") or platform.processor() or platform.machine())


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _size(size: int) -> str:
    from layerwise.models.machine.device import readable_size

    return readable_size(size)
