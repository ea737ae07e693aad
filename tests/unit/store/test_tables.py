"""The table's columns are what was stored before, and one that a shard lacks is null."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from layerwise.errors import StoreError
from layerwise.execution.recording import record
from layerwise.questions.question import Question
from layerwise.store import query, tables
from layerwise.store.run import open_run, shard_file
from layerwise.studies.study import plan_study
from layerwise.tracing.layer_measures import MEASURES
from layerwise.tracing.trace import Trace

TOKEN = "struct<id: int64, text: string>"
TOKEN_PROB = "struct<id: int64, text: string, prob: double, logprob: double>"
STORED = {
    **dict.fromkeys(("model", "location", "dtype"), "string"),
    "n_layers": "int64",
    **dict.fromkeys(("lens", "question", "set", "item", "direction", "wording", "group", "role"), "string"),
    **dict.fromkeys(("prompt", "refused"), "string"),
    "tokens": f"list<item: {TOKEN}>",
    "answer": "string",
    "answers": f"list<item: struct<text: string, tokens: list<item: {TOKEN}>, deciding_index: int64>>",
    "known": "bool",
    "wrong": "string",
    **dict.fromkeys(("settled_top1", "first_top1", "first_p50", "first_p95"), "int64"),
    **dict.fromkeys(("settled_kl_1bit", "copy", "half_entropy"), "int64"),
    "output": f"list<item: {TOKEN_PROB}>",
    "temperatures": f"list<item: struct<temperature: double, top: list<item: {TOKEN_PROB}>>>",
    **dict.fromkeys(("identity_error", "identity_limit", "states_error"), "double"),
    **dict.fromkeys(("covered_by", "output_from"), "string"),
    **dict.fromkeys(("device_error", "drift_variation", "drift_entropy_bits"), "double"),
    "drift_tops": "int64",
    **dict.fromkeys(("entropy_bits", "kl_to_final_bits", "kl_from_final_bits"), "list<item: float>"),
    **dict.fromkeys(("kl_from_logit_lens_bits", "total_variation", "echo_mass"), "list<item: float>"),
    **dict.fromkeys(("residual_norm", "cosine_to_final"), "list<item: float>"),
    **dict.fromkeys(("answer_prob", "answer_margin", "answer_logprob"), "list<item: float>"),
    "answer_first_token_prob": "list<item: float>",
    **dict.fromkeys(("answer_rank", "answer_ties", "answer_worst_rank"), "list<item: int32>"),
    "answer_first_token_rank": "list<item: int32>",
    **dict.fromkeys(("wrong_prob", "wrong_logprob"), "list<item: float>"),
    "wrong_rank": "list<item: int32>",
    "top": f"list<item: list<item: {TOKEN_PROB}>>",
    "tracked": "list<item: list<item: struct<id: int64, text: string, prob: double, logprob: double, rank: int64>>>",
    "lse": "list<item: list<item: double>>",
}
"""Columns that every shard of this schema has: they are never renamed, retyped or left out without a new schema."""


@pytest.fixture(scope="module")
def stored(load_family, tmp_path_factory):
    model = load_family("qwen3")
    questions = [{"id": "a", "prompt": "The capital of Germany is", "answers": [" Berlin"]}]
    study = {"name": "toy", "title": "Toy", "lenses": ["logit", "raw"], "questions": questions}
    planned = plan_study(study | {"models": [model.info.name]}, "test")
    return record(planned, tmp_path_factory.mktemp("runs") / "run", load=lambda name: model)


@pytest.fixture
def run(stored, tmp_path):
    shutil.copytree(stored.path, tmp_path / "run")
    return open_run(tmp_path / "run")


@pytest.fixture
def later(monkeypatch):
    """A column that came after the stored run was written."""
    column = pa.field("surprise_bits", pa.list_(pa.float32()))
    for module in (tables, query):
        monkeypatch.setattr(module, "QUESTIONS", tables.QUESTIONS.append(column))
        monkeypatch.setattr(module, "LATER", frozenset([column.name]))
    return column.name


def without(run, shard, column):
    file = shard_file(run.path, run.manifest["shards"][shard]["key"])
    pq.write_table(pq.read_table(file).drop_columns([column]), file)


def test_columns_keep_their_names_types_and_order():
    found = {field.name: str(field.type).replace("element", "item") for field in tables.QUESTIONS}
    assert {name: kind for name, kind in found.items() if name not in tables.LATER} == STORED
    assert [name for name in found if name not in tables.LATER] == list(STORED)


def test_a_column_that_came_later_is_null_where_a_shard_lacks_it(run, later):
    assert run.table()[later].null_count == run.table().num_rows == 2
    assert run.table([later]).column_names == [later]
    assert run.table(["lens", later, "model"]).column_names == ["lens", later, "model"]
    read = query.query([run], f"SELECT count(*) AS n, count({later}) AS measured FROM stored").to_pylist()
    assert read == [{"n": 2, "measured": 0}]


@pytest.mark.parametrize("newer", [0, 1])
def test_shards_with_and_without_it_are_read_together(run, later, newer):
    file = shard_file(run.path, run.manifest["shards"][newer]["key"])
    table, column = pq.read_table(file), tables.QUESTIONS.field(later)
    pq.write_table(table.append_column(column, pa.array([[1, 2]], column.type)), file)
    expected = [[1, 2] if shard == newer else None for shard in range(2)]
    assert run.table()[later].to_pylist() == expected
    lenses = run.table(["lens"])["lens"].to_pylist()
    read = query.query([run], f"SELECT lens, {later} FROM stored").to_pylist()
    assert {row["lens"]: row[later] for row in read} == dict(zip(lenses, expected, strict=True))


def test_a_damaged_shard_is_told_where_columns_may_be_missing(run, later):
    file = shard_file(run.path, run.manifest["shards"][1]["key"])
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(StoreError, match=rf"{file.name} is damaged"):
        query.query([run], "SELECT 1")


def test_a_column_that_every_shard_has_must_be_there(run):
    without(run, 1, "entropy_bits")
    with pytest.raises(StoreError, match="other columns than were written"):
        run.table()
    with pytest.raises(StoreError, match="other columns than were written"):
        run.table(["model", "entropy_bits"])


def test_a_column_too_many_is_refused(run):
    file = shard_file(run.path, run.manifest["shards"][0]["key"])
    table = pq.read_table(file)
    pq.write_table(table.append_column("more", table["model"]), file)
    with pytest.raises(StoreError, match="other columns than were written"):
        run.table()


def test_a_column_of_another_type_is_refused(run):
    file = shard_file(run.path, run.manifest["shards"][0]["key"])
    table = pq.read_table(file)
    at = table.column_names.index("n_layers")
    pq.write_table(table.set_column(at, "n_layers", table["n_layers"].cast("int32")), file)
    with pytest.raises(StoreError, match="other types than were written"):
        run.table()


def test_the_row_of_a_trace_that_lacks_a_measure_is_null_there(tiny, monkeypatch):
    trace = tiny.trace("The capital of")
    monkeypatch.setattr(Trace, "measures", property(lambda trace: {"entropy_bits": trace.entropy_bits}))
    row = tables.question_row(trace, Question("a", trace.prompt, item="a"))
    table = pa.Table.from_pylist([row], schema=tables.QUESTIONS)
    assert table["entropy_bits"].null_count == 0
    assert all(table[name].null_count == 1 for name in MEASURES if name != "entropy_bits")
