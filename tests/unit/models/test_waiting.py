import os
import subprocess
import sys

import pytest

SCRIPT = """
import threading, torch
torch.set_num_threads(3)
from layerwise.models.waiting import spin_briefly
before = torch.ones(1 << 18).cumsum(0)
spin_briefly()
spin_briefly()
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
