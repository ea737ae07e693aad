import sys

import pytest

from layerwise.cli.app import run_app


@pytest.fixture
def layerwise(monkeypatch, capsys):
    """Run the command line in this process; return (exit code, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["layerwise", *arguments])
        with pytest.raises(SystemExit) as ended:
            run_app()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call
