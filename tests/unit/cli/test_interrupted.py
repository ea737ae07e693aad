"""Ctrl-C while the command line is still being imported: real processes that get it at chosen imports."""

import os
import signal
import subprocess
import sys

import pytest

COPIED = """
import copy, os, signal, sys

signal.signal(2, signal.default_int_handler)
sys.argv = ["layerwise", "--version"]
from layerwise.cli import main
import typer.utils

def interrupt(value):
    os.kill(os.getpid(), 2)
    return copy.copy(value)

import layerwise.cli.app
typer.utils.copy = interrupt
main()
"""

IN_EXEC = """
import os, signal, sys

signal.signal(2, signal.default_int_handler)
import layerwise.cli.app

def run_app():
    try:
        exec("os.kill(os.getpid(), 2)")
    except KeyboardInterrupt:
        sys.exit(130)

layerwise.cli.app.run_app = run_app
from layerwise.cli import main
main()
"""

CHILD = """
import os, sys

def interrupt(event, arguments):
    if event == "import" and arguments[0] == {module!r}:
        os.kill(os.getpid(), 2)

sys.addaudithook(interrupt)
sys.argv = ["layerwise", *{arguments!r}]
from layerwise.cli import main
main()
"""


def ended(module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process that gets Ctrl-C where it begins to import a module."""
    code = CHILD.format(module=module, arguments=arguments)
    # Where a shell started this in the background, Ctrl-C is ignored otherwise.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "module",
    [
        "signal",
        "layerwise.cli.app",
        "typer",
        "re",
        "layerwise.errors",
        "layerwise.cli.view",
        "layerwise.models.sources.names",
    ],
)
def test_ctrl_c_before_the_command_has_begun_says_nothing_and_exits_130(module):
    done = ended(module, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("module", ["numpy", "torch", "transformers", "layerwise.tracing.model"])
def test_ctrl_c_while_a_command_imports_what_it_needs_has_no_traceback(module):
    done = ended(module, "trace", "x", "--model", "absent/model", "--quiet")
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_the_commands_are_put_together_has_no_traceback():
    done = subprocess.run([sys.executable, "-c", COPIED], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_inside_an_exec_ends_with_the_exit_code_and_not_by_the_signal(tmp_path):
    """As `python -m layerwise`, where CPython looks at its end for an interrupt that nobody caught in an `exec`."""
    (tmp_path / "ended.py").write_text(IN_EXEC)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run(
        [sys.executable, "-m", "ended"], capture_output=True, text=True, check=False, timeout=120, env=environment
    )
    assert (done.returncode, done.stderr) == (130, "")


def test_a_module_that_is_not_imported_interrupts_nothing():
    done = ended("layerwise.nothing", "--version")
    assert done.returncode == 0
    assert done.stdout.startswith("layerwise ")


def test_ctrl_c_that_is_ignored_stays_ignored():
    code = "import signal; signal.signal(2, signal.SIG_IGN)\n" + CHILD.format(module="typer", arguments=["--version"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_package_imports_nothing_before_the_command_line_begins():
    """Until then Ctrl-C ends in Python's own traceback, and nothing can be done about it."""
    code = "import sys; before = set(sys.modules); import layerwise.cli; print(sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ, timeout=120
    )
    assert done.stdout.strip() == "['layerwise', 'layerwise.cli']"
