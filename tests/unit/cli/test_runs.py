"""`layerwise runs`: listing, querying, verifying and migrating what is stored."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from benchmarks.query import write_run
from layerwise.store.run import open_run, shard_file, write_manifest

OLD = Path(__file__).parents[2] / "data" / "run-schema-2"
MEAN = "SELECT model, layer, avg(entropy_bits) AS mean FROM layers GROUP BY ALL ORDER BY ALL"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with runs/new and, of an older schema, runs/old."""
    monkeypatch.chdir(tmp_path)
    write_run(Path("runs/new"), 500, models=2)
    shutil.copytree(OLD, "runs/old")
    return Path("runs")


def test_list_shows_runs_of_this_schema_and_which_to_migrate(folder, layerwise):
    (folder / "broken").mkdir()
    (folder / "broken" / "manifest.json").write_text("{")
    shutil.copytree(OLD, folder / "older")
    manifest = json.loads((folder / "older" / "manifest.json").read_text())
    (folder / "older" / "manifest.json").write_text(json.dumps(manifest | {"schema": 1}))
    code, out, _ = layerwise("runs", "list")
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines() if "runs/" in line}
    assert "complete" in lines["runs/new"]
    assert "schema 2: migrate" in lines["runs/old"]
    assert "unreadable" in lines["runs/broken"]
    assert "schema 1" in lines["runs/older"]
    assert "migrate" not in lines["runs/older"]


def test_verify_finds_a_changed_shard(folder, layerwise):
    assert layerwise("runs", "verify", "runs/new")[0] == 0
    run = open_run(folder / "new")
    file = shard_file(run.path, run.manifest["shards"][0]["key"])
    file.write_bytes(file.read_bytes()[:-1])
    code, _, err = layerwise("runs", "verify", "runs/new")
    assert code == 1
    assert file.name in err


def test_verify_and_query_of_an_older_run_say_to_migrate_it(folder, layerwise):
    for arguments in (("verify", "runs/old"), ("query", "SELECT 1", "runs/old")):
        code, _, err = layerwise("runs", *arguments)
        assert code == 1
        assert "layerwise runs migrate runs/old" in " ".join(err.split())


def test_migrate_makes_an_older_run_one_of_this_schema(folder, layerwise):
    code, out, _ = layerwise("runs", "migrate", "runs/old")
    assert code == 0
    assert out == "runs/old: schema 3, rewritten from schema 2, 2 shards, no number changed\n"
    assert layerwise("runs", "verify", "runs/old")[0] == 0
    assert layerwise("runs", "migrate", "runs/old")[1] == "runs/old: schema 3, nothing to do\n"
    assert layerwise("runs", "migrate", "runs/none")[0] == 1


def test_query_shows_a_table_and_names_runs_that_it_left_out(folder, layerwise):
    code, out, err = layerwise("runs", "query", "SELECT name, status FROM runs")
    assert code == 0
    assert out.split()[:2] == ["name", "status"]
    assert "new" in out
    assert "old" not in out
    assert "Left out: runs/old was written in schema 2" in err


def test_query_reads_the_runs_that_are_named_or_all_of_a_folder(folder, layerwise):
    layerwise("runs", "migrate", "runs/old")
    count = "SELECT count(*) AS n FROM runs"
    assert layerwise("runs", "query", count, "--csv", "-")[1] == "n\n2\n"
    assert layerwise("runs", "query", count, "runs/new", "--csv", "-")[1] == "n\n1\n"
    assert layerwise("runs", "query", count, "--folder", "runs", "--csv", "-")[1] == "n\n2\n"
    code, _, err = layerwise("runs", "query", count, "--folder", "elsewhere")
    assert code == 1
    assert "no runs in elsewhere" in err


def test_query_writes_csv_and_json(folder, layerwise):
    _, out, _ = layerwise("runs", "query", MEAN, "runs/new", "--json", "-")
    rows = json.loads(out)
    assert len(rows) == 2 * 25
    _, out, _ = layerwise("runs", "query", MEAN, "runs/new", "--csv", "-")
    assert [float(row["mean"]) for row in csv.DictReader(io.StringIO(out))] == [row["mean"] for row in rows]
    code, out, _ = layerwise("runs", "query", MEAN, "runs/new", "--csv", "a.csv", "--json", "a.json")
    assert (code, out) == (0, "")
    assert json.loads(Path("a.json").read_text()) == rows
    assert len(Path("a.csv").read_text().splitlines()) == 51


def test_query_says_what_it_did_not_show(folder, layerwise):
    _, out, err = layerwise("runs", "query", "SELECT layer FROM layers", "runs/new")
    assert len(out.splitlines()) == pytest.approx(200, abs=5)
    assert "and 300 more rows. --csv FILE" in err
    _, out, err = layerwise("runs", "query", "SELECT * FROM layers LIMIT 1", "runs/new")
    assert all(len(line) <= 160 for line in out.splitlines())
    assert "more columns" in err


def test_query_shows_nulls_numbers_and_two_columns_of_one_name(folder, layerwise):
    _, out, _ = layerwise("runs", "query", "SELECT 1 AS a, NULL AS a, 0.123456789::FLOAT AS b", "runs/new")
    assert out.split()[-3:] == ["1", "null", "0.123457"]
    _, out, _ = layerwise("runs", "query", "EXPLAIN SELECT layer FROM layers", "runs/new")
    assert "Unnest" in out
    assert len(out.splitlines()) > 5, "a drawing of several lines"


def test_query_says_what_is_wrong_with_sql(folder, layerwise):
    code, _, err = layerwise("runs", "query", "SELECT entropy FROM layers", "runs/new")
    assert code == 1
    assert "entropy_bits" in err, "DuckDB names the columns that were meant"
    code, _, err = layerwise("runs", "query", "DROP VIEW layers", "runs/new")
    assert code == 1
    assert "DROP is refused" in err


def test_text_of_a_run_cannot_steer_the_terminal(folder, layerwise, monkeypatch):
    run = open_run(folder / "new")
    title = "a\x1b[2J\u202e[red]b"
    write_manifest(run.path, run.manifest | {"study": run.study | {"title": title}})
    _, out, _ = layerwise("runs", "query", 'SELECT title AS "\x1b[1mt" FROM runs', "runs/new")
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[red]b" in out
    _, out, _ = layerwise("runs", "query", "SELECT title FROM runs", "runs/new", "--json", "-")
    assert out.isascii()
    assert json.loads(out) == [{"title": title}]
    sql = "SELECT title FROM runs"
    assert "\x1b" in layerwise("runs", "query", sql, "runs/new", "--csv", "-")[1], "a pipe gets what is stored"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert "\x1b" not in layerwise("runs", "query", sql, "runs/new", "--csv", "-")[1]
