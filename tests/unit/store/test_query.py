"""SQL over stored runs: it says what is stored, and can do nothing else."""

import csv
import io
import json
import shutil

import numpy as np
import pytest

from benchmarks.query import write_run
from layerwise.errors import StoreError
from layerwise.execution.recording import record
from layerwise.questions.question import Question
from layerwise.store.query import RunsDatabase, as_csv, as_json, query
from layerwise.store.run import Run, open_run, shard_file, write_manifest, write_shard
from layerwise.store.tables import CURVES, QUESTIONS, as_table, refused_row
from layerwise.studies.study import plan_study

STUDY = {
    "name": "toy",
    "title": "Toy",
    "lenses": ["logit", "raw"],
    "questions": [
        {"id": "a", "prompt": "The capital of Germany is", "answers": [" Berlin"], "alternatives": [" Paris"]},
        {"id": "b", "role": "probe", "prompt": "The capital of"},
    ],
}


@pytest.fixture(scope="module")
def run(load_family, tmp_path_factory):
    model = load_family("qwen3")
    planned = plan_study(STUDY | {"models": [model.info.name]}, "test")
    return record(planned, tmp_path_factory.mktemp("runs") / "it's [1] *", load=lambda name: model)


@pytest.fixture
def with_refused(run, tmp_path):
    """A run with one more shard: a question that the model could not be asked."""
    folder = tmp_path / "refused"
    shutil.copytree(run.path, folder)
    key, question = "f" * 24, Question("r", "A prompt", item="R", set="s", wording="w", direction="d", group="g")
    model = next(iter(run.models))
    sha256 = write_shard(folder, key, as_table([refused_row(question, model, "logit", "no single token")]))
    shard = {"key": key, "model": model, "lens": "logit", "questions": ["r"], "sha256": sha256}
    write_manifest(folder, run.manifest | {"shards": [*run.manifest["shards"], shard]})
    return open_run(folder)


def test_layers_hold_what_the_run_returns(run):
    found = query([run], "SELECT * FROM layers ORDER BY model, lens, question, layer").to_pandas()
    stored = run.layers().sort_values(["model", "lens", "question", "layer"], ignore_index=True)
    for name in ("model", "lens", "question", "layer", "depth", *CURVES):
        np.testing.assert_array_equal(found[name].to_numpy(), stored[name].to_numpy(), err_msg=name)
    for field in ("id", "text", "prob"):
        assert found[f"top_{field}"].tolist() == [top[0][field] for top in stored["top"]]
    assert set(found["run"]) == {str(run.path)}
    assert set(found["item"]) == {"a", "b"}
    assert set(found["role"]) == {"main", "probe"}


def test_questions_hold_what_the_run_returns(run):
    found = query([run], "SELECT * FROM questions ORDER BY lens, question").to_pylist()
    stored = run.questions().sort_values(["lens", "question"]).to_dict("records")
    assert [row["prompt"] for row in found] == [row["prompt"] for row in stored]
    assert [row["identity_error"] for row in found] == [row["identity_error"] for row in stored]
    assert [row["known"] for row in found] == [row["known"] for row in stored]
    assert "tokens" not in found[0]
    assert "entropy_bits" not in found[0]


def test_runs_say_what_their_manifests_say(run):
    (row,) = query([run], "FROM runs").to_pylist()
    assert row["run"] == str(run.path)
    assert (row["name"], row["study"], row["title"], row["status"]) == (run.path.name, "toy", "Toy", "complete")
    assert row["created"] == run.manifest["created"]
    assert (row["models"], row["failures"]) == (run.study["models"], [])
    assert (row["questions"], row["shards"]) == (2, 2)


def test_several_runs_are_told_apart_and_none_counts_twice(run, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run.path, other)
    runs = [run, open_run(other)]
    found = query(runs, "SELECT r.name, count(*) AS n FROM layers JOIN runs r USING (run) GROUP BY ALL ORDER BY ALL")
    assert found.to_pylist() == [{"name": run.path.name, "n": 20}, {"name": "other", "n": 20}]
    with pytest.raises(StoreError, match="more than once"):
        query([run, open_run(run.path)], "FROM runs")


def test_a_refused_question_is_a_row_of_nulls_and_has_no_layers(with_refused):
    (row,) = query([with_refused], "SELECT * FROM questions WHERE refused IS NOT NULL").to_pylist()
    assert (row["question"], row["set"], row["refused"]) == ("r", "s", "no single token")
    assert row["n_layers"] is None
    assert row["identity_error"] is None
    assert query([with_refused], "SELECT count(*) AS n FROM layers WHERE question = 'r'").to_pylist() == [{"n": 0}]
    assert query([with_refused], "SELECT count(*) AS n FROM layers").to_pylist() == [{"n": 20}]


def test_runs_without_shards_have_the_same_columns(run, tmp_path):
    write_manifest(tmp_path / "empty", run.manifest | {"shards": [], "status": "incomplete"})
    empty = open_run(tmp_path / "empty")
    for table in ("questions", "layers"):
        found, stored = query([empty], f"FROM {table}"), query([run], f"FROM {table}")
        assert (found.num_rows, found.schema) == (0, stored.schema)
    assert query([], "FROM runs").num_rows == 0


def test_models_of_different_depths_lie_in_one_table(run, tmp_path):
    deeper = write_run(tmp_path / "deeper", 100, models=1)
    sql = "SELECT n_layers, max(layer) AS last, max(depth) AS depth FROM layers GROUP BY n_layers ORDER BY n_layers"
    assert query([run, deeper], sql).to_pylist() == [
        {"n_layers": 4, "last": 4, "depth": 1.0},
        {"n_layers": 24, "last": 24, "depth": 1.0},
    ]


def test_only_shards_of_the_manifest_are_read(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.path, folder)
    kept = run.manifest["shards"][:1]
    write_manifest(folder, run.manifest | {"shards": kept, "status": "incomplete"})
    found = query([open_run(folder)], "SELECT DISTINCT lens FROM questions").to_pylist()
    assert found == [{"lens": kept[0]["lens"]}]


def test_a_missing_or_damaged_shard_is_an_error(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.path, folder)
    file = shard_file(folder, run.manifest["shards"][1]["key"])
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(StoreError, match=file.name):
        query([open_run(folder)], "SELECT avg(entropy_bits) FROM layers")
    file.unlink()
    with pytest.raises(StoreError, match="is missing"):
        query([open_run(folder)], "SELECT 1")


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE layers",
        "SUMMARIZE questions",
        "EXPLAIN SELECT * FROM layers",
        "explain ANALYZE SELECT count(*) FROM layers",
        "WITH a AS (SELECT 1 AS x) SELECT x FROM a;",
        "VALUES (1)",
        "SHOW TABLES",
    ],
)
def test_questions_of_every_kind_are_answered(run, sql):
    assert query([run], sql).num_rows >= 1


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t (i INT)",
        "INSERT INTO runs (run) VALUES ('mine')",
        "WITH a AS (INSERT INTO runs (run) VALUES ('mine') RETURNING *) SELECT * FROM a",
        "UPDATE runs SET name = 'mine'",
        "DELETE FROM runs",
        "DROP VIEW layers",
        "ALTER TABLE runs RENAME TO mine",
        "COPY (SELECT 1) TO '{shard}'",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "COPY runs FROM '/etc/passwd'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{shard}' (FORMAT parquet, USE_TMP_FILE false)",
        "EXPLAIN /* */ ANALYZE COPY (SELECT 1) TO '{shard}' (FORMAT parquet, USE_TMP_FILE false)",
        "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{shard}' (FORMAT parquet, USE_TMP_FILE false)",
        "EXPLAIN ANALYZE CREATE TABLE t (i INT)",
        "SELECT * FROM query('COPY (SELECT 1) TO ''{shard}''')",
        "EXPORT DATABASE '{folder}/out'",
        "ATTACH '{folder}/out.db'",
        "ATTACH ':memory:' AS other",
        "DETACH memory",
        "USE memory",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET threads = 1",
        "SET allowed_directories = ['/']",
        "RESET lock_configuration",
        "PRAGMA threads = 1",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "CHECKPOINT",
        "BEGIN TRANSACTION",
        "COMMIT",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "SET VARIABLE x = 1",
        "VACUUM",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_csv('/dev/stdin')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM read_text('https://example.org/')",
        "SELECT * FROM read_parquet('{folder}/*/*.parquet')",
        "SELECT * FROM read_json('{folder}/manifest.json')",
        "SELECT getenv('HOME')",
        "SELECT * FROM duckdb_secrets()",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO '{shard}'",
        "",
        "-- nothing",
        "SELEC 1",
        "SELECT nothing FROM layers",
        "SELECT 1 / 'a'",
        "SELECT * FROM run",  # a variable of this function
        "SELECT * FROM STUDY",
    ],
)
def test_what_changes_anything_or_reaches_elsewhere_is_refused(run, tmp_path, monkeypatch, sql):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    shutil.copytree(run.path, folder)
    copied = open_run(folder)
    shard = shard_file(folder, copied.manifest["shards"][0]["key"])
    before = sorted(tmp_path.rglob("*"))
    with RunsDatabase([copied]) as opened:
        with pytest.raises(StoreError):
            opened.query(sql.format(shard=shard, folder=folder))
        assert opened.query("SELECT name, 1 AS one FROM runs").to_pylist() == [{"name": "run", "one": 1}]
    assert copied.damaged_files() == []
    assert sorted(tmp_path.rglob("*")) == before


def test_a_refusal_says_what_is_possible_and_an_error_what_duckdb_said(run):
    with pytest.raises(StoreError, match=r"DELETE is refused.*SELECT, WITH"):
        query([run], "DELETE FROM runs")
    with pytest.raises(StoreError, match=r'cannot be answered.*"entropy" not found'):
        query([run], "SELECT entropy FROM layers")


def test_json_and_csv_hold_every_row(run):
    found = query([run], "SELECT question, layer, entropy_bits, answer_rank, {'a': [1, NULL]} AS n FROM layers")
    rows = json.loads(as_json(found))
    assert rows == found.to_pylist()
    read = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [float(row["entropy_bits"]) for row in read] == [row["entropy_bits"] for row in rows]
    assert {row["answer_rank"] for row in read if row["question"] == "b"} == {""}
    assert read[0]["n"] == '{"a": [1, null]}'
    assert json.loads(as_json(query([run], "SELECT 1 AS x WHERE false"))) == []


def test_json_is_valid_whatever_was_asked_for(run):
    sql = "SELECT sum(layer) AS s, 'nan'::FLOAT AS f, DATE '2026-01-02' AS d, 1.5 AS p, 'ж\u202e\n' AS t FROM layers"
    expected = {"s": 40, "f": None, "d": "2026-01-02", "p": 1.5, "t": "ж\u202e\n"}
    found = query([run], sql)
    assert json.loads(as_json(found)) == [expected]
    assert as_json(found, ascii_only=True).isascii()
    with pytest.raises(StoreError, match="Two columns"):
        as_json(query([run], "SELECT 1 AS a, 2 AS a"))


def test_every_column_of_the_tables_is_in_a_view_or_is_a_list(run):
    there = {*query([run], "FROM questions").column_names, *query([run], "FROM layers").column_names}
    lists = {"tokens", "answers", "output", "temperatures", "top", "tracked", "lse"}
    assert {field.name for field in QUESTIONS} - there == lists


def test_a_run_that_is_written_in_shards_of_all_sizes_is_read_whole(tmp_path):
    made: Run = write_run(tmp_path / "made", 5_000, models=2)
    assert len(made.manifest["shards"]) == 2
    assert query([made], "SELECT count(*) AS n FROM layers").to_pylist() == [{"n": 5_000}]
    sql = "SELECT model, avg(entropy_bits) AS mean FROM layers GROUP BY model ORDER BY model"
    stored = made.layers().to_dict("records")
    for row in query([made], sql).to_pylist():
        mean = np.mean([one["entropy_bits"] for one in stored if one["model"] == row["model"]], dtype=np.float64)
        assert row["mean"] == pytest.approx(mean, rel=1e-12)
