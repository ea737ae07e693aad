"""How PyTorch's threads wait for one another on the CPU.

They spin: whoever has done its share of a product keeps its core until the last has done its own. As
long as nobody else wants to compute that saves microseconds. With one other busy program it costs
the time slices that the last one needs to finish, at each of a model's hundreds of products: with two
cores, a forward pass of 60 ms takes seconds.

So `layerwise` asks PyTorch's OpenMP (libgomp) for some 20 µs of it, which bridge the gap between two
products: by the environment, which is read once, when PyTorch is imported. Where PyTorch was there first,
its threads can still be had to spin even less: libgomp does so where more threads were made than there are
cores (https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html). That costs an idle machine some
speed, so it is done when a model was found to get less of the cores than its threads want. Numbers
don't change: each product is divided among as many threads as before.
"""

import contextlib
import functools
import os
import threading
import time
from collections.abc import Iterator

import torch

_DECIDED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Settings of the environment with which somebody, layerwise perhaps, has decided how threads wait."""

_SHARE = 0.8
"""Of the cores that a model's threads would keep alone: spinning ones were measured to get more than nine tenths."""

_LEAST_SECONDS = 0.03
"""The system counts a thread's time in steps of some milliseconds."""

_ELEMENTS = 1 << 16
"""For each thread: PyTorch divides smaller work among fewer."""


@contextlib.contextmanager
def noticing_others() -> Iterator[None]:
    """Run a model's blocks, and wait otherwise from then on if other programs took part of the cores meanwhile."""
    wall, mine = time.perf_counter(), time.process_time()
    yield
    wall, mine = time.perf_counter() - wall, time.process_time() - mine
    if wall >= _LEAST_SECONDS and mine < _SHARE * wall * min(torch.get_num_threads(), os.cpu_count() or 1):
        spin_hardly()


@functools.cache
def spin_hardly() -> None:
    """Have PyTorch's threads wait for one another without keeping their cores, unless the environment decides."""
    threads = torch.get_num_threads()
    if threads == 1 or any(name in os.environ for name in _DECIDED):
        return
    ready = threading.Event()
    crew = threading.Thread(target=_make_crew, args=(ready,), name="layerwise: idle crew", daemon=True)
    crew.start()
    ready.wait()
    torch.set_num_threads(threads)  # for threads that are yet to be made; this one's number did not change


def _make_crew(ready: threading.Event) -> None:
    """Divide some work among more threads than there are cores, and keep them: they last as long as this one."""
    count = (os.cpu_count() or 1) + 1
    torch.set_num_threads(count)  # each thread has a number of its own
    torch.ones(count * _ELEMENTS).add_(1)
    ready.set()
    threading.Event().wait()
