"""Runs of schema 2, rewritten: every number stays, and nothing is lost on the way.

tests/data/run-schema-2 was recorded with the code of commit 32130e6, on the toy Qwen3 of
tests/conftest.py: three questions (one without an answer, one with tracked tokens), two lenses.
"""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from layerwise.errors import StoreError
from layerwise.execution.recording import record
from layerwise.store import migration
from layerwise.store.migration import migratable, migrate
from layerwise.store.query import query
from layerwise.store.run import SCHEMA_VERSION, open_run
from layerwise.store.tables import PER_LAYER, QUESTIONS
from layerwise.studies.study import plan_study

OLD = Path(__file__).parents[2] / "data" / "run-schema-2"
NEW_COLUMNS = {"set", "item", "direction", "wording", "group", "refused", "known", "wrong"}
NEW_CURVES = {"answer_worst_rank", "wrong_prob", "wrong_logprob", "wrong_rank", "lse"}


@pytest.fixture
def old(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def old_rows(folder, table):
    files = sorted(folder.glob(f"shards/*/{table}.parquet"))
    return pa.concat_tables([pq.read_table(file) for file in files]).to_pylist()


def whole(folder):
    """Return whether a folder holds a run that can be trusted, of either schema."""
    manifest = json.loads((folder / "manifest.json").read_text())
    if manifest["schema"] == SCHEMA_VERSION:
        return open_run(folder).damaged_files() == []
    files = [folder / "shards" / s["key"] / name for s in manifest["shards"] for name in s["files"]]
    before = [OLD / file.relative_to(folder) for file in files]
    return all(mine.read_bytes() == theirs.read_bytes() for mine, theirs in zip(files, before, strict=True))


def test_every_number_of_the_questions_stays(old):
    rows = {(row["lens"], row["question"]): row for row in migrate(old).table().to_pylist()}
    before = old_rows(OLD, "questions")
    assert len(rows) == len(before) == 6
    for row in before:
        found = rows[row["lens"], row["question"]]
        assert {name: found[name] for name in row} == row
        assert found["item"] == row["question"]
        assert [found[name] for name in ("set", "direction", "wording", "group")] == [""] * 4
        assert [found[name] for name in ("refused", "known", "wrong", "wrong_rank", "lse")] == [None] * 5
    assert NEW_COLUMNS | PER_LAYER.keys() == set(QUESTIONS.names) - before[0].keys()


def test_every_number_of_the_layers_stays(old):
    rows = {(row["lens"], row["question"]): row for row in migrate(old).table().to_pylist()}
    before = old_rows(OLD, "layers")
    assert len(before) == 6 * 5
    for row in before:
        found = rows[row["lens"], row["question"]]
        assert row["depth"] == row["layer"] / found["n_layers"]
        assert row["position"] == len(found["tokens"]) - 1
        for name in row.keys() - {"model", "lens", "question", "layer", "depth", "position"}:
            assert (found[name][row["layer"]] if found[name] else None) == row[name], name
    assert PER_LAYER.keys() - before[0].keys() == NEW_CURVES


def test_tables_and_queries_of_a_migrated_run_say_the_same(old):
    run = migrate(old)
    before = {(row["lens"], row["question"], row["layer"]): row for row in old_rows(OLD, "layers")}
    for row in run.layers().to_dict("records"):
        assert row["entropy_bits"] == before[row["lens"], row["question"], row["layer"]]["entropy_bits"]
    for row in query(
        [run],
        "SELECT lens, question, layer, answer_rank, worst FROM (SELECT *, answer_worst_rank AS worst FROM layers)",
    ).to_pylist():
        assert row["answer_rank"] == before[row["lens"], row["question"], row["layer"]]["answer_rank"]
        assert row["worst"] is None


def test_the_manifest_says_what_the_run_was_and_that_it_was_migrated(old):
    before = json.loads((OLD / "manifest.json").read_text())
    run = migrate(old)
    same = ("status", "created", "updated", "models", "versions")
    assert {name: run.manifest[name] for name in same} == {name: before[name] for name in same}
    assert run.manifest["migrated_from_schema"] == 2
    assert run.manifest["study_sum"] == plan_study(before["study"], "test").sum
    assert [shard["key"] for shard in run.manifest["shards"]] == [shard["key"] for shard in before["shards"]]
    assert run.complete
    assert run.damaged_files() == []
    assert {file.suffix for file in (old / "shards").iterdir()} == {".parquet"}


def test_a_migrated_run_can_be_gone_on_with_and_is_computed_again(old, fresh):
    run = migrate(old)
    model = fresh("qwen3")
    planned = plan_study(run.study | {"models": run.study["models"]}, "test")
    again = record(planned, old, load=lambda name: model, resume=True)
    assert again.complete
    known = again.table(["known"])["known"]
    assert len(known) - known.null_count == 4, "two questions have an answer, through two lenses"


def test_migrating_twice_changes_nothing_the_second_time(old):
    run = migrate(old)
    files = {file: file.read_bytes() for file in old.rglob("*") if file.is_file()}
    assert migratable(old) is None
    assert migrate(old).manifest == run.manifest
    assert {file: file.read_bytes() for file in old.rglob("*") if file.is_file()} == files


@pytest.mark.parametrize("stop", range(1, 6))
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interruption_leaves_the_old_run_or_the_new_one(old, monkeypatch, stop, when):
    """Two shards are written, then the manifest, then two folders are removed: five steps."""
    steps = 0

    def interrupted(function):
        def call(*arguments):
            nonlocal steps
            steps += 1
            if steps == stop and when == "before":
                raise KeyboardInterrupt
            result = function(*arguments)
            if steps == stop:
                raise KeyboardInterrupt
            return result

        return call

    with monkeypatch.context() as patch:
        for name in ("write_shard", "write_manifest", "_remove"):
            patch.setattr(migration, name, interrupted(getattr(migration, name)))
        with pytest.raises(KeyboardInterrupt):
            migrate(old)
    assert whole(old)
    (old / "shards" / f".{'a' * 24}.parquet.abcdefgh").mkdir()  # had it been killed
    run = migrate(old)
    assert run.damaged_files() == []
    assert {file.suffix for file in (old / "shards").iterdir()} == {".parquet"}


def test_a_damaged_run_is_not_migrated(old):
    file = next(old.rglob("layers.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(StoreError, match=r"1 files .* are not what was written.*nothing was migrated"):
        migrate(old)
    assert json.loads((old / "manifest.json").read_text())["schema"] == 2
    assert not list(old.glob("shards/*.parquet"))


def test_a_question_without_all_its_layers_is_not_migrated(old):
    manifest = json.loads((old / "manifest.json").read_text())
    shard = manifest["shards"][0]
    file = old / "shards" / shard["key"] / "layers.parquet"
    table = pq.read_table(file)
    pq.write_table(table.slice(1), file)
    shard["files"]["layers.parquet"] = migration.sha256_of(file)
    (old / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"one row for each layer of question 'a', 0 to 4; got layers \[1, 2, 3, 4\]"):
        migrate(old)


@pytest.mark.parametrize("key", ["../../elsewhere", "..", 7])
def test_a_manifest_that_points_elsewhere_is_refused(old, key):
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["shards"][0]["key"] = key
    (old / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="lacks parts of a manifest"):
        migrate(old)


def test_a_disk_that_is_full_leaves_the_old_run(old, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(migration, "write_shard", full)
    with pytest.raises(StoreError, match="No space left"):
        migrate(old)
    assert whole(old)


def test_other_schemas_say_what_to_do(old):
    with pytest.raises(StoreError, match=r"schema 2.*layerwise runs migrate .*no number changes"):
        open_run(old)
    manifest = json.loads((old / "manifest.json").read_text())
    for schema, advice in ((1, "no longer read. Run the study again"), (99, "Update layerwise")):
        (old / "manifest.json").write_text(json.dumps(manifest | {"schema": schema}))
        assert migratable(old) is None
        with pytest.raises(StoreError, match=advice):
            migrate(old)
