"""`layerwise doctor`: findings on stdout, exit code 1 if there is a problem."""

import functools
import json
import math
import os
import subprocess
import sys

import pytest

from layerwise.models.checkpoint.checkpoint import locate
from layerwise.models.sources.names import resolve


@pytest.fixture
def doctor(layerwise):
    """Run `layerwise doctor`."""
    return functools.partial(layerwise, "doctor")


def test_a_sound_machine_is_told_so_with_a_trace_that_was_checked(doctor, toy_bundled):
    toy_bundled()
    locate(resolve("smollm2-135m"))
    code, out, err = doctor()
    assert (code, err) == (0, "")
    assert "identity error" in out
    assert out.rstrip().endswith("No problems.")
    for topic in ("machine", "devices", "versions", "hub", "caches", "models", "extras", "self-test"):
        assert topic in out.splitlines()


def test_json_has_the_same_findings_and_the_self_test_can_be_left_out(doctor, toy_bundled):
    toy_bundled()
    code, out, _ = doctor("--json", "--no-test")
    data = json.loads(out)
    assert (code, data["problems"]) == (0, 0)
    assert {tuple(finding) for finding in data["findings"]} == {("topic", "subject", "state", "found", "advice")}
    assert "self-test" not in {finding["topic"] for finding in data["findings"]}


def test_a_problem_comes_with_what_to_do_and_exit_code_1(doctor, tmp_path, monkeypatch):
    (tmp_path / "\x1b[2Jcache").write_text("")
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "\x1b[2Jcache"))
    code, out, _ = doctor("--no-test")
    assert code == 1
    assert "problem" in out
    assert "set LAYERWISE_CACHE to another folder" in " ".join(out.split())
    assert "\x1b" not in out
    assert doctor("--no-test", "--json")[0] == 1


def test_tampered_weights_fail_the_self_test(doctor, toy_bundled):
    toy_bundled(norm=math.nan)
    locate(resolve("smollm2-135m"))
    code, out, err = doctor("--json")
    [trace] = [finding for finding in json.loads(out)["findings"] if finding["topic"] == "self-test"]
    assert (code, trace["state"]) == (1, "problem")
    assert "NaN" in trace["found"]
    assert "Traceback" not in out + err


def test_offline_mode_is_noted_in_a_process_of_its_own(tmp_path):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "LAYERWISE_CACHE": str(tmp_path), "HF_TOKEN": "hf_verysecret"}
    done = subprocess.run(
        [sys.executable, "-m", "layerwise", "doctor", "--json"], env=environment, capture_output=True, check=False
    )
    findings = {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert findings["offline mode"]["state"] == "note"
    assert "HF_HUB_OFFLINE" in findings["offline mode"]["advice"]
    assert findings["trace"]["found"].startswith("skipped")
    assert b"verysecret" not in done.stdout + done.stderr
