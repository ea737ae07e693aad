"""Fits in processes that are killed (kill -9): what the last of them leaves is what nothing interrupted leaves."""

import subprocess
import sys
import time

import pytest

FITTING = """
import sys

import layerwise as lw
from layerwise.fitting import checkpoint_clock, methods

checkpoint_clock.BETWEEN, checkpoint_clock._SHARE_OF_WRITING = 0, float("inf")
methods._WINDOWS_AT_ONCE = 1
model, method, out = sys.argv[1:]
lw.fit_lens(lw.load(model, device="cpu"), method, out, count=40, length=24)
"""


@pytest.mark.parametrize("method", ["jacobian", "tuned"])
def test_a_fit_that_was_killed_goes_on_to_the_same_lens(method, family_folder, tmp_path):
    out, checkpoint = tmp_path / "lens", tmp_path / "lens.partial" / "fit.json"
    fitting = [sys.executable, "-c", FITTING, str(family_folder("llama3")), method]
    with subprocess.Popen([*fitting, out]) as process:
        while not checkpoint.exists():
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.002)
        process.kill()
    assert not out.exists()
    for each in (out, tmp_path / "whole"):
        subprocess.run([*fitting, each], check=True)
    whole = {each.name: each.read_bytes() for each in (tmp_path / "whole").iterdir()}
    assert {each.name: each.read_bytes() for each in out.iterdir()} == whole
    assert not checkpoint.parent.exists()
