import pytest
import torch

from layerwise.errors import ModelError
from layerwise.models.machine import device
from layerwise.models.machine.device import (
    available_devices,
    dtype_name,
    free_memory,
    placement_for,
    placement_in_memory,
    used_memory,
)

GB = 10**9


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many GB free on each device: ``machine(cuda=24, cpu=64)``."""

    def make(**free):
        monkeypatch.setattr(device, "available_devices", lambda: tuple(free))
        monkeypatch.setattr(device, "free_memory", lambda name: free[name] * GB)

    return make


def placed(*args, **kwargs):
    placement = placement_for(*args, **kwargs)
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
    assert placement_in_memory(GB, "float32") is None
    machine(cpu=5)
    assert placed(GB, "float32") == ("cpu", "float32")


def test_a_model_without_room_is_streamed(machine):
    machine(cuda=1, cpu=10)
    streamed = placement_for(8 * GB, "bfloat16")
    assert (streamed.device.type, streamed.dtype) == ("cuda", torch.bfloat16)
    assert (streamed.budget or 0) - used_memory() == 7 * GB, "seven tenths of what is free"
    machine(cpu=64)
    assert placement_for(8 * GB, "bfloat16").budget is None


def test_a_budget_is_for_the_whole_process(machine, monkeypatch):
    machine(cpu=64)
    monkeypatch.setattr(device, "used_memory", lambda: GB)
    assert placement_for(GB, "float32", memory="5.5GB").budget == 5.5 * GB
    assert placement_for(GB, "float32", memory="6GB").budget is None


@pytest.mark.parametrize(("fast", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_streamed_blocks_compute_in_half_precision_where_the_processor_does(machine, monkeypatch, fast, dtype):
    machine(cpu=10)
    monkeypatch.setattr(device, "_multiplies_half_precision", lambda: fast)
    assert placement_for(8 * GB, "bfloat16").dtype == dtype
    assert placement_for(8 * GB, "float32").dtype == torch.float32
    assert placement_for(8 * GB, "bfloat16", dtype="float16").dtype == torch.float16


def test_what_is_asked_for_is_what_is_tried(machine):
    machine(cuda=24, cpu=64)
    assert placed(8 * GB, "bfloat16", "cpu", "bfloat16") == ("cpu", "bfloat16")
    streamed = placement_for(8 * GB, "bfloat16", "cuda", "float32")
    assert (streamed.device.type, streamed.dtype) == ("cuda", torch.float32)
    assert streamed.budget


def test_stored_precisions_that_nothing_runs_in_become_float32(machine):
    machine(cpu=64)
    assert placed(GB, "float64") == ("cpu", "float32")


def test_unknown_names_are_refused(machine):
    machine(cpu=64)
    with pytest.raises(ModelError, match=r"Unknown device 'tpu'.*cuda"):
        placement_for(1, "float32", device="tpu")
    with pytest.raises(ModelError, match=r"Unknown dtype 'int4'.*bfloat16"):
        placement_for(1, "float32", dtype="int4")


def test_a_device_that_is_not_there_is_refused(machine):
    machine(cpu=64)
    with pytest.raises(ModelError, match=r"'cuda' was asked for.*finds only cpu"):
        placement_for(1, "float32", device="cuda")


def test_this_machine_has_a_cpu_with_memory():
    assert available_devices()[-1] == "cpu"
    assert all(free_memory(name) > 0 for name in available_devices())
    assert dtype_name(torch.bfloat16) == "bfloat16"
