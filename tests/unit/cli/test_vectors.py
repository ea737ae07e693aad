"""Vectors of edits that the command line reads from files."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from layerwise.cli.vectors import with_vectors
from layerwise.errors import EditError
from layerwise.interventions.along import Add, vector_text
from layerwise.interventions.written import parse

VECTOR = np.array([0.5, -1.0, 2.0])


def test_a_file_s_numbers_take_its_name_s_place(tmp_path):
    np.save(tmp_path / "a b.npy", VECTOR[None])
    save_file({"direction": VECTOR.astype(np.float16)}, tmp_path / "v.safetensors")
    for name in ("a b.npy", "v.safetensors"):
        spec = parse(with_vectors(f"add 'layer 3@-1' vector='{tmp_path / name}' strength=2"))
        assert spec == Add("layer 3", "-1", vector=(vector_text(VECTOR),), strength=2.0)


@pytest.mark.parametrize("edit", ["zero mlp_out", "add layer 3 vector=AACAPwAAAMA=", "add layer 3 vector='open"])
def test_all_else_is_as_it_was(edit):
    words = with_vectors(edit)
    assert words == edit or parse(words) == parse(edit)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: None, "No vector could be read"),
        (lambda path: path.write_bytes(b"no numbers"), "No vector could be read"),
        (lambda path: np.save(path, np.zeros((2, 3))), r"should hold one vector of numbers; it holds float64 \[2, 3\]"),
        (lambda path: np.save(path, np.array(["a"])), "one vector of numbers"),
        (lambda path: np.save(path, np.array([{}]), allow_pickle=True), "No vector could be read"),
        (lambda path: np.save(path, np.array([np.nan, 1])), "NaN or infinite"),
    ],
)
def test_what_holds_no_vector_is_refused(tmp_path, write, said):
    write(tmp_path / "v.npy")
    with pytest.raises(EditError, match=said):
        parse(with_vectors(f"add 'layer 3' vector={tmp_path / 'v.npy'}"))
