"""`layerwise ablate`: grids on stdout, messages on stderr, files where they were asked for."""

import json

import pytest

PROMPT = "The capital of Germany is"


@pytest.fixture
def asked(family_folder):
    return "ablate", PROMPT, "--answer", " Berlin", "--model", str(family_folder("qwen3")), "--quiet"


def test_a_grid_is_printed_for_each_kind(layerwise, asked):
    code, out, _ = layerwise(*asked, "--of", "mlp_out", "--of", "z", "--against", " Paris")
    assert code == 0
    assert "mlp_out by zero: change of logit difference of" in out
    assert "z by zero: change of" in out
    rows = [line for line in out.splitlines() if line.strip().split(" ")[0].isdigit()]
    assert len(rows) == 2 * 4
    assert 'most changed by --edit "zero ' in out


def test_edges_stand_beside_their_placebos(layerwise, asked):
    edges = ("--cut", "subject:last", "--cut", "last:last", "--span", "subject=Germany", "--window", "3")
    code, out, err = layerwise(*asked, *edges)
    assert code == 0
    assert "edges cut, 3 blocks at a time: % change of probability of" in out
    assert out.count("placebo") == 2
    assert "±" in out
    assert "and the same in" in out
    assert "has no placebo" not in err


def test_prompts_to_resample_from_come_from_a_file_too(layerwise, asked, tmp_path):
    (tmp_path / "others.txt").write_text("Two and two make four\n\nOnce upon a time\n")
    target, folder = tmp_path / "found.json", tmp_path / "figures"
    code, _, err = layerwise(
        *asked, "--by", "resample", "--over", "A king lived", "--over-file", str(tmp_path / "others.txt"),
        *("--draws", "2", "--json", str(target), "--figures", str(folder)),
    )  # fmt: skip
    assert code == 0
    stored = json.loads(target.read_text())
    assert stored["over"] == ["A king lived", "Two and two make four", "Once upon a time"]
    assert stored["grids"][0]["spread"]
    assert {each.name for each in folder.glob("*.svg")} == {"attn_out.svg", "mlp_out.svg"}
    assert str(folder) in err


def test_json_on_stdout_is_alone_there(layerwise, asked):
    code, out, _ = layerwise(*asked, "--cut", "first:last", "--json", "-")
    assert code == 0
    assert json.loads(out)["grids"][0]["edges"] == ["first → last"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--answer", ""), "Give it with --answer"),
        (("--by", "mean"), "give each with --over"),
        (("--span", "subject"), "Write NAME=TEXT"),
        (("--span", "subject=Germany"), "'subject' is in no edge: cut one with --cut subject:last"),
        (("--cut", "subject:last"), "Name a part of the prompt, as in --span subject=Germany"),
        (("--of", "pattern"), "--cut FROM:TO"),
        (("--of", "z", "--draws", "0"), "at least one draw"),
        (("--by", "mean", "--over-file", "missing.txt"), "missing.txt cannot be read"),
    ],
)
def test_what_cannot_be_taken_out_is_one_message(layerwise, asked, arguments, said):
    code, out, err = layerwise(*asked, *arguments)
    assert code == 1
    assert said in " ".join(err.split())
    assert not out
