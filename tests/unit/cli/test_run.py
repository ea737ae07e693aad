"""`layerwise run` on studies of question sets."""

import json

import pytest

from layerwise.analysis import overview

CLAIM = """
[[claims]]
id = "norm"
sentence = "The norm matters."
estimator = "norm_matters"
region = "> 1"
over = "all"
least_items = 2
null = "Both lenses read the same."
"""


@pytest.fixture
def study(tmp_path):
    """Writes a study of two items over some models, with a claim."""

    def write(*models):
        (tmp_path / "mine.csv").write_text(
            "item,prompt,answer,group\n"
            "germany,The capital of Germany is,Berlin,c\nfrance,The capital of France is,Paris,c\n"
        )
        (tmp_path / "claims.toml").write_text(CLAIM)
        named = f'name = "mine"\ntitle = "Mine"\nmodels = {json.dumps(models)}\nlenses = ["logit", "raw"]\n'
        (tmp_path / "study.toml").write_text(named + 'claims = "claims.toml"\n[[sets]]\nname = "mine.csv"\n')
        return str(tmp_path / "study.toml")

    return write


def test_verdicts_are_printed_and_both_reports_written(layerwise, family_folder, study, tmp_path):
    folder, out = str(family_folder("qwen3")), tmp_path / "run"
    code, printed, _ = layerwise("run", study(folder), "--out", str(out), "--quiet")
    assert code == 0
    assert "“The norm matters.”:" in printed
    assert ", 2 items)" in printed
    assert (out / "report.html").is_file()
    code, rows, _ = layerwise("runs", "query", "SELECT count(*) AS n FROM layers", str(out), "--csv", "-")
    assert (code, rows) == (0, "n\n20\n")


def test_a_claim_is_judged_once_per_model(layerwise, family_folder, study, tmp_path, monkeypatch):
    judged = []
    judge = overview.judge
    monkeypatch.setattr(overview, "judge", lambda claim, cases: judged.append(claim.id) or judge(claim, cases))
    code, _, _ = layerwise("run", study(str(family_folder("qwen3"))), "--out", str(tmp_path / "run"), "--quiet")
    assert code == 0
    assert judged == ["norm"]


def test_a_model_that_fails_leaves_the_others_and_a_failing_exit_code(layerwise, family_folder, study, tmp_path):
    folder, out = str(family_folder("qwen3")), tmp_path / "run"
    code, printed, said = layerwise("run", study(folder, str(tmp_path / "gone")), "--out", str(out), "--quiet")
    assert code == 1
    assert "Report:" in printed
    assert "1 of 2 models could not be read to the end" in " ".join(said.split())
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["status"] == "incomplete"
    assert list(manifest["failures"]) == [str(tmp_path / "gone")]
    assert {shard["model"] for shard in manifest["shards"]} == {folder}


def test_an_own_answer_without_its_space_is_hinted_at(layerwise, family_folder, tmp_path):
    own = '[[questions]]\nid = "q"\nprompt = "The capital of Germany is"\nanswers = ["Berlin"]\n'
    (tmp_path / "study.toml").write_text(f'name = "s"\ntitle = "S"\nmodels = ["{family_folder("qwen3")}"]\n{own}')
    code, _, said = layerwise("run", str(tmp_path / "study.toml"), "--out", str(tmp_path / "run"), "--quiet")
    assert code == 0
    assert said.startswith("Hint: The answer stands right after the prompt, without a space")
    assert said.endswith("  q: The capital of Germany isBerlin\n")


def test_a_resumed_run_that_lacks_nothing_says_so(layerwise, family_folder, study, tmp_path):
    arguments = ("run", study(str(family_folder("qwen3"))), "--out", str(tmp_path / "run"), "--quiet")
    assert layerwise(*arguments)[2] == ""
    assert layerwise(*arguments, "--resume")[::2] == (
        0,
        f"Nothing was missing in {tmp_path / 'run'}; the report was written again.\n",
    )
    next((tmp_path / "run" / "shards").glob("*.parquet")).unlink()
    assert layerwise(*arguments, "--resume")[::2] == (0, "")
