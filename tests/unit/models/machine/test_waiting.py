import os
import subprocess
import sys

import pytest

from layerwise.models.machine import waiting

SCRIPT = """
import threading, torch  # before layerwise, which otherwise decides by the environment
torch.set_num_threads(3)
from layerwise.models.machine.waiting import spin_hardly
before = torch.ones(1 << 18).cumsum(0)
spin_hardly()
spin_hardly()
crews = [thread.name for thread in threading.enumerate() if "idle crew" in thread.name]
numbers = []
other = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
other.start()
other.join()
print(len(crews), torch.get_num_threads(), numbers[0], bool(torch.equal(before, torch.ones(1 << 18).cumsum(0))))
"""


@pytest.mark.parametrize(
    ("environment", "crews"), [({}, 1), ({"OMP_WAIT_POLICY": "ACTIVE"}, 0), ({"GOMP_SPINCOUNT": "5"}, 0)]
)
def test_one_idle_crew_is_made_unless_the_environment_decides_and_numbers_of_threads_stay(environment, crews):
    """In a process of its own: a crew lasts as long as its process."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env=_clean() | environment,
    )
    assert done.stdout.split() == [str(crews), "3", "3", "True"]


def test_a_single_thread_has_nobody_to_wait_for():
    script = SCRIPT.replace("set_num_threads(3)", "set_num_threads(1)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["0", "1", "1", "True"]


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}


@pytest.mark.parametrize(
    ("environment", "first", "spins"),
    [
        ({}, "", "5000"),
        ({}, "import torch", "None"),
        ({"GOMP_SPINCOUNT": "7"}, "", "7"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "", "None"),
    ],
)
def test_the_environment_says_how_long_to_spin_unless_somebody_has_decided_or_it_is_too_late(environment, first, spins):
    script = f"import os\n{first}\nimport layerwise\nprint(os.environ.get('GOMP_SPINCOUNT'))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        env=_clean() | environment,
    )
    assert done.stdout.split() == [spins]


@pytest.mark.parametrize(("mine", "made"), [(2.0, 0), (1.7, 0), (1.3, 1), (0.02, 1)])
def test_a_crew_is_made_where_others_took_part_of_the_cores(monkeypatch, mine, made):
    clocks = {"perf_counter": iter([10.0, 11.0]), "process_time": iter([5.0, 5.0 + mine])}
    for name, clock in clocks.items():
        monkeypatch.setattr(waiting.time, name, lambda clock=clock: next(clock))
    monkeypatch.setattr(waiting.torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(waiting.os, "cpu_count", lambda: 4)
    calls = []
    monkeypatch.setattr(waiting, "spin_hardly", lambda: calls.append(None))
    with waiting.noticing_others():
        pass
    assert len(calls) == made
