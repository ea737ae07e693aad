"""`layerwise trace --html`."""

import json
import sys

import pytest

from layerwise.cli.app import run_app

PROMPT = "The capital of Germany is"


@pytest.fixture
def call(family_folder, monkeypatch, capsys):
    def layerwise_trace(*arguments):
        model = str(family_folder("qwen3"))
        monkeypatch.setattr(sys, "argv", ["layerwise", "trace", PROMPT, "--model", model, "--quiet", *arguments])
        with pytest.raises(SystemExit) as ended:
            run_app()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return layerwise_trace


def test_html_writes_the_view_and_says_where(call, tmp_path):
    file = tmp_path / "trace.html"
    code, out, said = call("--html", str(file))
    assert (code, out) == (0, "")
    assert said.endswith(f"View written to {file}; open it in a browser.\n")
    text = file.read_text("utf-8")
    assert f"<title>{PROMPT}</title>" in text
    assert text.endswith("</body></html>\n")


def test_html_stands_beside_json(call, tmp_path):
    code, out, said = call("--html", str(tmp_path / "trace.html"), "--json", "-")
    assert code == 0
    assert json.loads(out)["prompt"] == PROMPT
    assert "View written to" in said
    code, out, said = call("--html", str(tmp_path / "trace.html"), "--json", str(tmp_path / "trace.json"))
    assert (code, out) == (0, "")
    assert "View written to" in said
    assert "Trace written to" in said


def test_a_place_that_cannot_be_written_to_is_one_message(call, tmp_path):
    (tmp_path / "file").write_text("")
    place = str(tmp_path / "file" / "trace.html")
    code, _, said = call("--html", place)
    assert code == 1
    assert said.startswith(f"Error: {place} could not be written")
