"""Outputs where stdout is not in UTF-8: what people read in its encoding, what programs read in UTF-8 all the same."""

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.query import write_run

OLD = Path(__file__).parents[2] / "data" / "run-schema-2"
PROMPT = "The capital of Ελλάδα is"
TOKEN = "SELECT '日本' AS token"


@pytest.fixture(params=["ascii", "cp1252"])
def stdout(request, capsysbinary, monkeypatch):
    """Run the command line with stdout in another encoding; return the bytes that it wrote."""
    from layerwise.cli.app import run_app

    def call(*arguments: str) -> bytes:
        monkeypatch.setattr(sys, "argv", ["layerwise", *arguments])
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(sys.stdout.buffer, encoding=request.param))
        with pytest.raises(SystemExit) as ended:
            run_app()
        sys.stdout.flush()
        out, err = capsysbinary.readouterr()
        assert not ended.value.code, err
        return out

    return call


@pytest.fixture
def trace(family_folder):
    return ("trace", PROMPT, "--model", str(family_folder("qwen3")), "--quiet")


@pytest.fixture
def query(tmp_path):
    write_run(tmp_path, 100, models=1)
    return ("runs", "query", TOKEN, str(tmp_path))


def test_tables_spell_out_what_the_encoding_lacks(stdout, trace, query):
    assert rb"\u2423" in stdout(*trace)
    assert rb"\u65e5\u672c" in stdout(*query)
    assert rb"\u" in stdout("questions", "show", "capitals", "--items", "200")


def test_csv_and_html_are_in_utf_8_and_json_is_what_a_file_would_hold(stdout, trace, query, tmp_path):
    assert list(csv.reader(io.StringIO(stdout(*query, "--csv", "-").decode()))) == [["token"], ["日本"]]
    assert json.loads(stdout(*query, "--json", "-")) == [{"token": "日本"}]
    assert PROMPT in stdout(*trace, "--html", "-").decode()
    file = tmp_path / "trace.json"
    stdout(*trace, "--json", str(file))
    assert (
        json.loads(stdout(*trace, "--json", "-"))["prompt"] == json.loads(file.read_text("utf-8"))["prompt"] == PROMPT
    )


def test_a_view_on_stdout_is_the_page_and_nothing_else(layerwise, trace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(OLD, "run")
    layerwise("runs", "migrate", "run")
    layerwise(*trace, "--json", "trace.json")
    for command in (trace, ("view", "trace.json"), ("runs", "report", "run")):
        code, out, _ = layerwise(*command, "--html", "-")
        assert code == 0
        assert (out[:15], out[-8:]) == ("<!doctype html>", "</html>\n")
    assert not Path("-").exists()


def test_a_document_that_cannot_be_written_is_one_message(layerwise, trace, query, tmp_path):
    (tmp_path / "file").write_text("")
    target = str(tmp_path / "file" / "x")
    for command in ((*trace, "--html"), (*query, "--csv"), ("questions", "show", "capitals", "--json")):
        code, _, err = layerwise(*command, target)
        assert (code, "could not be written" in " ".join(err.split())) == (1, True)
