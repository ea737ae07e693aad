import pytest
import torch

from layerwise.errors import DoesNotFitError, ModelError
from layerwise.models import device
from layerwise.models.device import available_devices, dtype_name, free_memory, place

GB = 10**9


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many GB free on each device: ``machine(cuda=24, cpu=64)``."""

    def make(**free):
        monkeypatch.setattr(device, "available_devices", lambda: tuple(free))
        monkeypatch.setattr(device, "free_memory", lambda name: free[name] * GB)

    return make


def placed(*args, **kwargs):
    placement = place(*args, **kwargs)
    return placement.device.type, dtype_name(placement.dtype)


def test_an_accelerator_with_room_comes_first_in_the_checkpoints_precision(machine):
    machine(cuda=24, cpu=64)
    assert placed(8 * GB, "bfloat16") == ("cuda", "bfloat16")


def test_without_room_there_the_next_device_is_taken(machine):
    machine(cuda=8, cpu=64)
    assert placed(8 * GB, "bfloat16") == ("cpu", "float32")
    machine(cuda=8, mps=20, cpu=64)
    assert placed(8 * GB, "bfloat16") == ("mps", "bfloat16")


def test_the_cpu_runs_half_precision_only_where_float32_does_not_fit(machine):
    machine(cpu=64)
    assert placed(8 * GB, "bfloat16") == ("cpu", "float32")
    machine(cpu=20)
    assert placed(8 * GB, "bfloat16") == ("cpu", "bfloat16")
    assert placed(8 * GB, "float16") == ("cpu", "float16")


def test_room_for_working_is_part_of_what_a_model_needs(machine):
    machine(cpu=4)
    with pytest.raises(DoesNotFitError):
        place(GB, "float32")
    machine(cpu=5)
    assert placed(GB, "float32") == ("cpu", "float32")


def test_no_device_has_room(machine):
    machine(cuda=1, cpu=2)
    with pytest.raises(DoesNotFitError, match=r"cuda in bfloat16 needs 16.6 GB, 1.0 GB are free.*cpu in float32"):
        place(8 * GB, "bfloat16")


def test_what_is_asked_for_is_what_is_tried(machine):
    machine(cuda=24, cpu=64)
    assert placed(8 * GB, "bfloat16", "cpu", "bfloat16") == ("cpu", "bfloat16")
    with pytest.raises(DoesNotFitError) as caught:
        place(8 * GB, "bfloat16", "cuda", "float32")
    assert "cpu" not in str(caught.value)


def test_stored_precisions_that_nothing_runs_in_become_float32(machine):
    machine(cpu=64)
    assert placed(GB, "float64") == ("cpu", "float32")


def test_unknown_names_are_refused(machine):
    machine(cpu=64)
    with pytest.raises(ModelError, match=r"Unknown device 'tpu'.*cuda"):
        place(1, "float32", device="tpu")
    with pytest.raises(ModelError, match=r"Unknown dtype 'int4'.*bfloat16"):
        place(1, "float32", dtype="int4")


def test_a_device_that_is_not_there_is_refused(machine):
    machine(cpu=64)
    with pytest.raises(ModelError, match=r"'cuda' was asked for.*finds only cpu"):
        place(1, "float32", device="cuda")


def test_this_machine_has_a_cpu_with_memory():
    assert available_devices()[-1] == "cpu"
    assert all(free_memory(name) > 0 for name in available_devices())
    assert dtype_name(torch.bfloat16) == "bfloat16"
