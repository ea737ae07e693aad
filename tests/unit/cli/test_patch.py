"""`layerwise patch`: grids on stdout, messages on stderr, files where they were asked for."""

import json

import pytest

CLEAN, CORRUPTED = "The capital of Germany is", "The capital of France is"
ANSWERS = ("--answer", " Berlin", "--against", " Paris")


@pytest.fixture
def model(family_folder):
    return "--model", str(family_folder("qwen3")), "--quiet"


def test_a_grid_is_printed_for_each_kind(layerwise, model):
    code, out, err = layerwise("patch", CLEAN, CORRUPTED, *ANSWERS, *model, "--of", "resid_pre", "--of", "z")
    assert code == 0
    assert "resid_pre: % of logit difference recovered" in out
    assert "z: % of logit difference recovered" in out
    rows = [line for line in out.splitlines() if line.strip().split(" ")[0].isdigit()]
    assert len(rows) == 2 * 4
    assert "left out: nothing is different there" in err


def test_json_and_figures_hold_everything(layerwise, model, tmp_path):
    target, folder = tmp_path / "grids.json", tmp_path / "figures"
    code, _, err = layerwise(
        *("patch", CLEAN, CORRUPTED, "--answer", " Berlin", *model),
        *("--json", str(target), "--figures", str(folder), "--direction", "noise"),
    )
    assert code == 0
    stored = json.loads(target.read_text())
    assert stored["direction"] == "noise"
    assert stored["effect"] == "answer_logprob"
    assert {each.name for each in folder.iterdir()} == {"resid_pre.png", "resid_pre.svg"}
    assert str(folder) in err


def test_json_on_stdout_is_alone_there(layerwise, model):
    code, out, _ = layerwise("patch", CLEAN, CORRUPTED, *ANSWERS, *model, "--json", "-")
    assert code == 0
    assert json.loads(out)["against"]["text"]


def test_noise_on_a_subject_needs_no_other_prompt(layerwise, model):
    code, out, _ = layerwise("patch", CLEAN, "--noise-on", "Germany", "--draws", "2", *ANSWERS, *model)
    assert code == 0
    assert "noise of 3 deviations on 'Germany', 2 draws" in out


def test_a_terminal_too_narrow_for_all_columns_shows_those_in_which_most_happens(layerwise, model, monkeypatch):
    monkeypatch.setattr("layerwise.cli.console._WIDTH_IN_FILES", 22)
    code, out, err = layerwise("patch", CLEAN, "A capital of France is", *ANSWERS, *model)
    assert code == 0
    assert "more columns, in which less happens" in err
    assert max(map(len, out.splitlines()[-8:])) <= 22


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((CLEAN, CORRUPTED), "Give it with --answer"),
        ((CLEAN, *ANSWERS), "Give one of two"),
        ((CLEAN, CORRUPTED, "--noise-on", "Germany", *ANSWERS), "Give one of two"),
        ((CLEAN, CORRUPTED, *ANSWERS, "--span", "Germany"), "Write NAME=CLEAN|CORRUPTED"),
        ((CLEAN, CORRUPTED, *ANSWERS, "--of", "hidden"), "'hidden' is no kind of site"),
        ((CLEAN, CORRUPTED, "--answer", " Berlin", "--against", " Berlin"), "No token tells the answer"),
        ((CLEAN, "Paris", *ANSWERS), "clean (5 tokens): "),
    ],
)
def test_what_cannot_be_patched_is_one_message(layerwise, model, arguments, said):
    code, out, err = layerwise("patch", *arguments, *model)
    assert code == 1
    assert said in " ".join(err.split())
    assert not out


def test_the_view_is_written_as_a_page(layerwise, model, tmp_path):
    target = tmp_path / "grids.html"
    code, out, err = layerwise("patch", CLEAN, CORRUPTED, *ANSWERS, *model, "--html", str(target))
    assert code == 0
    assert '"patchings":[{' in target.read_text("utf-8")
    assert str(target) in err
    assert "recovered" in out


def test_a_page_on_stdout_is_alone_there(layerwise, model):
    code, out, _ = layerwise("patch", CLEAN, CORRUPTED, *ANSWERS, *model, "--html", "-")
    assert code == 0
    assert out.startswith("<!doctype html>")
    assert out.rstrip().endswith("</html>")


def test_two_documents_do_not_share_stdout(layerwise, model):
    code, out, err = layerwise("patch", CLEAN, CORRUPTED, *ANSWERS, *model, "--html", "-", "--json", "-")
    assert code == 1
    assert out == ""
    assert "standard output" in err


def test_an_approximation_says_that_it_is_one_and_how_far_off(layerwise, model, tmp_path):
    stored = tmp_path / "grids.json"
    code, out, err = layerwise(
        *("patch", CLEAN, CORRUPTED, *ANSWERS, *model, "--of", "resid_pre", "--approximate", "--exact-cells", "9"),
        *("--json", str(stored)),
    )
    assert code == 0
    assert "resid_pre: % of logit difference recovered, approximately" in out
    assert "attribution patching, beside" in out
    assert "mean error" in out
    [grid] = json.loads(stored.read_text())["grids"]
    found = grid["approximation"]
    assert len(found["cells"]) == min(9, found["of"])
    doubted = found["correlation"] < 0.9 or found["mean_error"] > 0.05
    assert ("the approximation is bad" in " ".join(err.split())) == doubted
