"""Experiment 001 on the bundled models: what the committed report says is what a run says today."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from layerwise.analysis.overview import Overview
from layerwise.execution.recording import record
from layerwise.report.markdown import write_report
from layerwise.report.prompt_findings import findings
from layerwise.store.run import open_run, shard_file
from layerwise.studies.study import read_study

EXPERIMENT = Path(__file__).parents[2] / "experiments" / "001_layers_and_logits"


@pytest.fixture(scope="module")
def run(gemma, smollm, tmp_path_factory):
    models = {"gemma-3-270m": gemma, "smollm2-135m": smollm}
    return record(
        read_study(EXPERIMENT / "study.toml"), tmp_path_factory.mktemp("runs") / "001", load=models.__getitem__
    )


def test_one_model_arrives_at_berlin_after_a_detour_over_germany_and_one_does_not(run):
    said = {f.plain.split(": ␣")[0]: f.plain for f in findings(Overview(run).own)}
    question, statement = "Question: What is the capital of Germany? Answer:", "The capital of Germany is"
    assert "␣Germany leads at layers 13–16, ␣Berlin settles at 17 of 18" in said[f"gemma-3-270m, “{question}”"]
    assert "␣Berlin never leads; the output is ↵" in said[f"smollm2-135m, “{question}”"]
    assert "␣Berlin settles at 30 of 30" in said[f"smollm2-135m, “{statement}”"]
    assert "␣Berlin settles at 25 of 30" in said[f"smollm2-135m, “{statement}” (jacobian lens)"]


def test_the_committed_report_is_what_a_run_gives_today(run, tmp_path):
    """Text and layers to the letter; numbers to what another processor may round differently."""
    committed = (EXPERIMENT / "report.md").read_text()
    today = write_report(run, tmp_path).read_text()
    number = re.compile(r"\d[\d,]*\.?\d*(?:e[-+]\d+)?")
    cut = committed.index("## How this was made")
    said, again = (re.sub(r"\d\.\de[-+]\d\d", "error", text[:cut]) for text in (committed, today))
    assert number.sub("#", said) == number.sub("#", again)
    pairs = zip(number.findall(said), number.findall(again), strict=True)
    for was, now in ((a.replace(",", ""), b.replace(",", "")) for a, b in pairs):
        assert float(was) == pytest.approx(float(now), rel=2e-3, abs=2e-3)
    for figure in re.findall(r"\]\((figures/[^)]+)\)", committed):
        assert (EXPERIMENT / figure).is_file()


def test_every_prompt_was_checked_by_one_of_its_length_group(run):
    questions = run.questions()
    for _, mine in questions.groupby("model"):
        rows = mine.to_dict("records")
        lengths = {row["prompt"]: len(row["tokens"]) for row in rows}
        for row in rows:
            assert lengths[row["covered_by"]].bit_length() == len(row["tokens"]).bit_length()
            assert row["identity_error"] <= row["identity_limit"] == 1e-3


def test_control_c_leaves_a_run_that_resume_completes(tmp_path):
    """A real process, interrupted by a real signal once the first model is stored."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "layerwise", "run", str(EXPERIMENT / "study.toml"), "--out", str(folder)]
    command += ["--model", "smollm2-135m", "--model", "gemma-3-270m", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while not (folder / "manifest.json").exists() or not open_run(folder).manifest["shards"]:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "Interrupted" in err
    assert "--resume" in err
    assert "Traceback" not in err
    left = open_run(folder)
    assert not left.complete
    assert left.damaged_files() == []
    assert not list(folder.rglob(".*"))
    listed = [shard_file(folder, shard["key"]) for shard in left.manifest["shards"]]
    kept = {path: path.stat().st_mtime_ns for path in listed}
    assert kept
    done = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert open_run(folder).complete
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items()), (
        "what was stored was not computed again"
    )
