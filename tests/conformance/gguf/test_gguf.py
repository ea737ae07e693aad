"""Files as llama.cpp's converter writes them, read and compared with the checkpoints that they were made from."""

import pytest
import torch

from benchmarks.gguf import checkpoints
from benchmarks.gguf.cases import CASES
from benchmarks.gguf.reading import LENGTHS, TOLERANCE, largest_error, logprobs
from benchmarks.gguf.writer import write

BY_NAME = {case.name: case for case in CASES}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_file_is_read_as_the_checkpoint_that_it_was_made_from(name, tmp_path):
    case = BY_NAME[name]
    original = checkpoints.build(case)
    path = write(case, original, tmp_path / "tiny.gguf")
    assert largest_error(path, checkpoints.reference(case, original)) <= TOLERANCE


@pytest.mark.parametrize("name", [case.name for case in CASES if case.lost])
def test_a_setting_that_the_file_loses_changes_the_original(name):
    """Else the case would prove nothing: what the file says must differ from what the checkpoint said."""
    case = BY_NAME[name]
    original = checkpoints.build(case)
    told = checkpoints.reference(case, original)
    assert max(float(torch.dist(logprobs(original, n), logprobs(told, n), torch.inf)) for n in LENGTHS) > 0.01


def test_every_case_has_a_name_of_its_own():
    assert len(BY_NAME) == len(CASES)
