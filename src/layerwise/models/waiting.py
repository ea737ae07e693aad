"""How PyTorch's threads wait for one another on the CPU.

They spin: whoever has done its share of a product keeps its core until the last has done its own. As
long as nobody else wants to compute that saves microseconds. With one other busy program it costs
the time slices that the last one needs to finish, at each of a model's hundreds of products: with two
cores, a forward pass of 60 ms takes seconds.

PyTorch's OpenMP (libgomp) spins only briefly where more threads were made than there are cores
(https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html), which can be had at any time; the environment
is read only once, before anybody imports layerwise. So a crew of threads is made that never does
anything. Numbers don't change: each product is divided among as many threads as before.
"""

import functools
import os
import threading

import torch

_DECIDED = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Settings of the environment with which somebody has decided how threads wait."""

_ELEMENTS = 1 << 16
"""For each thread: PyTorch divides smaller work among fewer."""


@functools.cache
def spin_briefly() -> None:
    """Have PyTorch's threads on the CPU wait for one another without keeping their cores, from now on."""
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
