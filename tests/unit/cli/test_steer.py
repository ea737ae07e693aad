"""`layerwise steer`: a row for each strength, with its placebo, and everything as JSON."""

import json

import numpy as np
import pytest


def test_each_strength_has_a_row_and_its_placebo(layerwise, family_folder, tmp_path):
    model = str(family_folder("qwen3"))
    code, out, err = layerwise(
        *("steer", "One two three", "--model", model, "--along", "layer 2@-1 token=' a'", "--answer", " a"),
        *("--strengths=-1,0.5", "--generate", "2", "--json", str(tmp_path / "s.json"), "--quiet"),
    )
    assert code == 0, err
    stored = json.loads((tmp_path / "s.json").read_text())
    assert [row["strength"] for row in stored["rows"]] == [-1, -1, 0.5, 0.5]
    assert out.count("placebo") == 2
    for row in stored["rows"]:
        assert f"{row['answer_logprob']:.2f}" in out


def test_a_vector_comes_from_a_file(layerwise, family_folder, tmp_path):
    np.save(tmp_path / "v.npy", np.ones(64))
    code, out, err = layerwise(
        *("steer", "One two three", "--model", str(family_folder("qwen3")), "--along"),
        *(f"add layer 2 vector={tmp_path / 'v.npy'}", "--strengths", "0", "--placebos", "0", "--json", "-", "--quiet"),
    )
    assert code == 0, err
    [row] = json.loads(out)["rows"]
    assert row["kl_bits"] == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--along", "layer 2"), "given in one way; got none"),
        (("--along", "layer 2 token=' a'", "--strengths", "a lot"), "should be numbers with commas between them"),
        (("--along", "layer 99 token=' a'"), "There is no layer 99: this model's are 0 to 4"),
        (("--along", "layer 2 token=' a'", "--unrelated", "no such set"), "no such set"),
    ],
)
def test_what_cannot_be_steered_is_one_message(layerwise, family_folder, given, said):
    code, out, err = layerwise("steer", "One two", *given, "--quiet", "--model", str(family_folder("qwen3")))
    assert code == 1
    assert said in " ".join(err.split())
    assert not out
