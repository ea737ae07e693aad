import contextlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from layerwise import compiled
from layerwise.compiled import available, cache_bytes, run_in_threads


@pytest.fixture
def threads():
    """Sets how many threads PyTorch uses: ``threads(2)``."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def cache_file(tmp_path, monkeypatch):
    """What the system tells about its cache: ``cache_file("512K\\n")``."""
    path = tmp_path / "size"
    monkeypatch.setattr(compiled, "_CACHE_FILE", path)
    cache_bytes.cache_clear()
    yield path.write_text
    cache_bytes.cache_clear()


@given(length=st.integers(0, 3000), step=st.integers(1, 300), count=st.integers(1, 3))
def test_every_index_is_in_one_piece(length, step, count):
    before, pieces = torch.get_num_threads(), []
    torch.set_num_threads(count)
    try:
        run_in_threads(lambda start, stop: pieces.append((start, stop)), length, step)
    finally:
        torch.set_num_threads(before)
    pieces.sort()
    assert [index for start, stop in pieces for index in range(start, stop)] == list(range(length))
    assert all(start < stop for start, stop in pieces)
    assert all(start % step == 0 for start, _ in pieces)
    assert all((stop - start) % step == 0 for start, stop in pieces[:-1])
    assert len(pieces) <= 4 * count, "no more than keeps the threads busy"


def test_pieces_run_side_by_side(threads):
    """Two pieces wait for one another; in a single thread the first would wait for ever."""
    threads(2)
    meeting = threading.Barrier(2, timeout=20)
    names = set()

    def work(_start: int, _stop: int) -> None:
        meeting.wait()
        names.add(threading.get_ident())

    run_in_threads(work, 2, 1)
    assert len(names) == 2


def test_a_single_thread_is_the_callers_own(threads):
    threads(1)
    names = set()
    run_in_threads(lambda _start, _stop: names.add(threading.get_ident()), 100, 1)
    assert names == {threading.get_ident()}


@pytest.mark.parametrize("count", [1, 3])
def test_what_work_raises_is_raised(count, threads):
    threads(count)

    def fail_late(_start: int, stop: int) -> None:
        if stop == 100:
            raise ArithmeticError("in the last piece")

    with pytest.raises(ArithmeticError, match="in the last piece"):
        run_in_threads(fail_late, 100, 1)


@pytest.mark.parametrize("fails", [False, True])
def test_pytorch_computes_alone_in_each_thread_and_as_before_outside(threads, fails):
    threads(3)
    inside = []

    def work(_start: int, _stop: int) -> None:
        inside.append(torch.get_num_threads())
        if fails:
            raise ArithmeticError

    with contextlib.suppress(ArithmeticError):
        run_in_threads(work, 100, 1)
    assert set(inside) == {1}
    assert torch.get_num_threads() == 3
    with ThreadPoolExecutor(1) as another:
        assert another.submit(torch.get_num_threads).result() == 3


def test_pieces_that_are_not_joined_are_the_same_in_any_number_of_threads(threads):
    cut = set()
    for count in (1, 2, 5):
        threads(count)
        pieces = []
        run_in_threads(lambda start, stop, pieces=pieces: pieces.append((start, stop)), 100, 7, shared_out=False)
        cut.add(tuple(sorted(pieces)))
    assert len(cut) == 1


def test_work_in_threads_may_itself_run_in_threads(threads):
    threads(2)
    counts = np.zeros((20, 30), int)

    def count(row: np.ndarray, start: int, stop: int) -> None:
        row[start:stop] += 1

    def outer(first: int, last: int) -> None:
        for row in counts[first:last]:
            run_in_threads(partial(count, row), 30, 4)

    run_in_threads(outer, 20, 3)
    assert (counts == 1).all()


@pytest.mark.parametrize(("told", "expected"), [("512K\n", 512 << 10), ("2048K", 2 << 20), ("1K", 1 << 10)])
def test_the_cache_is_as_large_as_the_system_tells(told, expected, cache_file):
    cache_file(told)
    assert cache_bytes() == expected


@pytest.mark.parametrize("told", ["", "\n", "unknown", "1M", "K", "0K", "½K"])
def test_what_tells_nothing_leaves_the_usual_size(told, cache_file):
    cache_file(told, encoding="utf-8")
    assert cache_bytes() == compiled._USUAL_CACHE


def test_a_system_that_does_not_tell_leaves_the_usual_size(cache_file):
    assert cache_bytes() == compiled._USUAL_CACHE


def test_this_machine_has_a_cache():
    assert cache_bytes() > 0


def test_numba_is_found_where_it_can_be_imported():
    available.cache_clear()
    try:
        import numba
    except ImportError:
        assert not available()
    else:
        assert available(), numba.__version__


READ_ONCE = """
import hashlib, dataclasses, torch
from layerwise.models.output_head import compiled_product
from layerwise.readout import compiled_statistics
from layerwise.readout.readout import ReadoutPlan

torch.set_num_threads(1)
torch.manual_seed(0)
wanted = ReadoutPlan(5, torch.tensor([[1]]), torch.tensor([[2, 3]]), (1.0, 0.5), tuple(range(9)))
readout = compiled_statistics.read_logits(5 * torch.randn(1, 9, 700), wanted)
rows, weight, out = torch.randn(5, 90), torch.randn(70, 90), torch.empty(2, 5, 70)
compiled_product.multiply(rows, weight, out[0])
compiled_product.multiply(rows, weight.bfloat16(), out[1])
for name, values in dataclasses.asdict(readout).items():
    print(name, hashlib.sha256(values.numpy().tobytes()).hexdigest())
print("product", hashlib.sha256(out.numpy().tobytes()).hexdigest())
"""


@pytest.mark.skipif(not available(), reason="numba is not installed here")
def test_the_run_that_compiles_reads_the_same_bits_as_those_after_it(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", READ_ONCE], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    )
    assert len(list(tmp_path.rglob("*.nbc"))) == 3, "what the first run compiled was kept for the second"
    assert first == second
