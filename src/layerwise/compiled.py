"""Compiled functions: whether this machine can have them, and the threads that they run in.

What is compiled stands beside a PyTorch version of the same, in files called `compiled_…`; those
alone import numba, and only where `available` says so. What a cached function calls is inlined by force:
a call that is left stays bound to the callee's own code in the process that compiles, and to a copy
optimised otherwise in those that read the cache, so that the first run's last bits would differ.
"""

import functools
import importlib.util
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

REASSOCIATED = {"reassoc", "contract", "nsz"}
"""numba's `fastmath` for sums, which may then be taken in vector lanes. NaN and infinity keep their meaning."""

_USUAL_CACHE = 1 << 20
_CACHE_FILE = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")


@functools.cache
def available() -> bool:
    """Return whether numba is installed."""
    return importlib.util.find_spec("numba") is not None


def run_in_threads(work: Callable[[int, int], None], length: int, step: int, *, shared_out: bool = True) -> None:
    """Call `work(start, stop)` for consecutive pieces of `length`, in as many threads as PyTorch uses.

    Not in more than there are cores, for they would push each other's pieces out of the caches.
    A thread takes the next piece as soon as it comes free, so that one which the system holds up, for
    other programs want to run as well, holds up nobody. `work` must release the GIL. What PyTorch
    computes inside it, it computes in that thread alone: its own threads would wait for each other
    actively, at every product anew, and a single busy program beside them multiplies that time.

    Args:
        work: what to do with one piece.
        length: of the whole.
        step: pieces are multiples of it (the last may be shorter).
        shared_out: join steps to a few pieces per thread; otherwise each step is a piece, whatever the threads.
    """
    given = torch.get_num_threads()
    threads = min(given, cores())
    pieces = _pieces(length, step, 4 * threads if shared_out else length)
    if threads == 1 or len(pieces) == 1:
        for piece in pieces:
            work(*piece)
        return
    left = iter(pieces)  # shared: a future for every piece would take as long as a small piece itself

    def work_on() -> None:
        for piece in left:
            work(*piece)

    try:
        with ThreadPoolExecutor(threads, initializer=_compute_alone) as pool:  # anew: a pool does not survive a fork
            for done in [pool.submit(work_on) for _ in range(threads)]:
                done.result()
    finally:
        torch.set_num_threads(given)  # for threads that are yet to be made; this one's number did not change


def cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compute_alone() -> None:
    """Have PyTorch use one thread for what it computes in this one: the number is each thread's own."""
    torch.set_num_threads(1)


@functools.cache
def cache_bytes() -> int:
    """Return the size of a core's second-level cache, or the usual size where the system does not tell."""
    try:
        return int(_CACHE_FILE.read_text("ascii").strip().removesuffix("K")) << 10 or _USUAL_CACHE
    except (OSError, ValueError):
        return _USUAL_CACHE


def _pieces(length: int, step: int, wanted: int) -> Sequence[tuple[int, int]]:
    size = step * max(1, -(-length // (step * wanted)))
    return [(start, min(start + size, length)) for start in range(0, length, size)]
