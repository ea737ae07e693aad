"""Files as llama.cpp's converter writes them, read and compared with the checkpoints that they were made from.

`python -m benchmarks.gguf --converter download` shows that our own writer's files are the converter's.
"""

import gguf
import numpy as np
import pytest

import layerwise as lw
from benchmarks.gguf import checkpoints
from benchmarks.gguf.cases import CASES
from benchmarks.gguf.files import differences
from benchmarks.gguf.reading import TOLERANCE, largest_difference, largest_error
from benchmarks.gguf.writer import write

BY_NAME = {case.name: case for case in CASES}

REFUSED: frozenset[str] = frozenset()
"""Architectures of llama.cpp whose files are refused, by name."""


@pytest.fixture
def written(tmp_path):
    """Writes a case's file, and returns it with the model that it describes."""

    def make(name: str):
        case = BY_NAME[name]
        original = checkpoints.build(case)
        path = write(case, original, tmp_path / f"{case.architecture}.gguf")
        return path, checkpoints.reference(case, original)

    return make


@pytest.mark.parametrize("name", [name for name, case in BY_NAME.items() if case.architecture not in REFUSED])
def test_a_file_is_read_as_the_checkpoint_that_it_was_made_from(name, written):
    path, reference = written(name)
    assert largest_error(path, reference) <= TOLERANCE


@pytest.mark.parametrize("architecture", sorted(REFUSED))
def test_an_architecture_that_is_not_mapped_is_refused_by_name(architecture, written):
    path, _ = written(next(name for name, case in BY_NAME.items() if case.architecture == architecture))
    with pytest.raises(lw.LayerwiseError, match=architecture):
        lw.load(path)


@pytest.mark.parametrize("name", [case.name for case in CASES if case.lost])
def test_a_setting_that_the_file_loses_changes_the_original(name):
    """Else the case would prove nothing: what the file says must differ from what the checkpoint said."""
    case = BY_NAME[name]
    original = checkpoints.build(case)
    assert largest_difference(original, checkpoints.reference(case, original)) > 10 * TOLERANCE


def test_every_case_has_a_name_of_its_own():
    assert len(BY_NAME) == len(CASES)


def test_a_case_is_drawn_the_same_whatever_ran_before():
    case = BY_NAME["gpt-oss/plain"]
    first = checkpoints.build(case).state_dict()
    checkpoints.build(BY_NAME["mamba/plain"])
    assert all(np.array_equal(first[name], weight) for name, weight in checkpoints.build(case).state_dict().items())


def test_what_differs_between_two_files_is_named(tmp_path):
    def made(name: str, base: float, weight: np.ndarray, more: bool):
        writer = gguf.GGUFWriter(tmp_path / name, "llama")
        writer.add_float32("llama.rope.freq_base", base)
        if more:
            writer.add_uint32("llama.vocab_size", 4)
        writer.add_tensor("output_norm.weight", weight)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / name

    ours = made("ours.gguf", 1e4, np.ones(4, np.float32), more=True)
    theirs = made("theirs.gguf", 5e5, np.full(4, 1.001, np.float32), more=False)
    assert differences(ours, ours) == []
    assert differences(ours, theirs) == [
        "only ours: llama.vocab_size",
        "llama.rope.freq_base: ours 10000.0 (FLOAT32), theirs 500000.0 (FLOAT32)",
        "tensor output_norm.weight: ours F32 (4,), theirs F32 (4,)",
    ]
