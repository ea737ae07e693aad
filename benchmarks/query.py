"""SQL over a stored run of a million layer rows: how long do typical queries take?

The run is made up, in real columns and shards of the real size. Every query is timed with and
without opening the run; medians over rounds. Seconds of the processor, over all threads, say what a
query costs on a machine that is busy with something else.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.clock import seconds_of
from benchmarks.machine import describe
from benchmarks.page import measured_on, put
from benchmarks.tables import Table
from layerwise.files import sha256_of
from layerwise.store.query import RunsDatabase, query
from layerwise.store.run import Run, open_run, shard_file, write_manifest
from layerwise.store.tables import CURVES, QUESTIONS
from layerwise.types import ModelInfo

_PER_SHARD = 128
_LAYERS = 24
"""Blocks, so 25 layer rows for every question."""
_TOP, _TRACKED, _TOKENS = 5, 3, 12
_SETS = ("capitals", "currencies", "continents", "languages")

_RANK_1 = 'avg((answer_rank = 1)::INT) AS share FROM layers GROUP BY "set", layer ORDER BY "set", layer'
QUERIES = {
    "mean entropy by model and layer": "SELECT model, layer, avg(entropy_bits) FROM layers GROUP BY ALL ORDER BY ALL",
    "share of rank 1 by set and layer": f'SELECT "set", layer, {_RANK_1}',
    "one question": "SELECT * FROM layers WHERE question = 'q00777' ORDER BY model, lens, layer",
    "likeliest tokens of the middle layer": f"SELECT top_text, count(*) AS n FROM layers WHERE layer = {_LAYERS // 2} "
    "GROUP BY top_text ORDER BY n DESC LIMIT 10",
    "three curves by layer": "SELECT layer, avg(entropy_bits), avg(answer_prob), median(answer_rank) FROM layers "
    "GROUP BY layer ORDER BY layer",
    "questions known, by model": "SELECT model, avg(known::INT), count(*) FROM questions GROUP BY model",
    "rows": "SELECT count(*) FROM layers",
}


def write_run(folder: Path, layer_rows: int, models: int = 4) -> Run:
    """Return a run of made-up numbers with about as many layer rows."""
    names = [f"model-{index}" for index in range(models)]
    per_model = -(-layer_rows // (models * (_LAYERS + 1)))
    random, shards = np.random.default_rng(1), []
    for model in names:
        for start in range(0, per_model, _PER_SHARD):
            ids = [f"q{index:05}" for index in range(start, min(start + _PER_SHARD, per_model))]
            key = f"{len(shards):024x}"
            file = shard_file(folder, key)
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(_shard(random, model, ids), file)
            shards.append({"key": key, "model": model, "lens": "logit", "questions": ids, "sha256": sha256_of(file)})
    write_manifest(
        folder,
        {
            "status": "complete",
            "created": "2026-01-01T00:00:00+00:00",
            "updated": "2026-01-01T00:00:00+00:00",
            "study": {"name": "made-up", "title": "Made up", "models": names},
            "study_sum": "",
            "claims": [],
            "models": {name: asdict(_made_up(name)) for name in names},
            "failures": {},
            "versions": {},
            "shards": shards,
        },
    )
    return open_run(folder)


def _made_up(name: str) -> ModelInfo:
    return ModelInfo(
        name=name,
        source="memory",
        location=name,
        revision=None,
        weights_sum=None,
        architecture="MadeUp",
        n_layers=_LAYERS,
        d_model=1,
        n_heads=1,
        n_kv_heads=1,
        vocab_size=1,
        context_length=1,
        parameters=1,
        dtype="float32",
        device="cpu",
    )


def _shard(random: np.random.Generator, model: str, ids: list[str]) -> pa.Table:
    count = len(ids)
    numbers = [int(name[1:]) for name in ids]
    text = {
        "model": [model] * count,
        "location": [f"hub/{model}"] * count,
        "dtype": ["float32"] * count,
        "lens": ["logit"] * count,
        "question": ids,
        "set": [_SETS[number % len(_SETS)] for number in numbers],
        "item": [f"item {number // 4}" for number in numbers],
        "direction": ["forward"] * count,
        "wording": [f"wording {number % 4}" for number in numbers],
        "group": [f"group {number % 7}" for number in numbers],
        "role": ["main"] * count,
        "prompt": [f"A prompt of some length that asks for the answer number {number}:" for number in numbers],
        "answer": [f" answer {number}" for number in numbers],
        "wrong": [f" answer {number + 1}" for number in numbers],
    }
    columns = [
        pa.array(text[field.name]) if field.name in text else _drawn(random, field, count) for field in QUESTIONS
    ]
    return pa.Table.from_arrays(columns, schema=QUESTIONS)


def _drawn(random: np.random.Generator, field: pa.Field, count: int) -> pa.Array:
    rows = count * (_LAYERS + 1)
    if field.name == "n_layers":
        return pa.array([_LAYERS] * count, pa.int64())
    if field.name in CURVES:
        return _lists(_values(random, field.type.value_type, rows), _LAYERS + 1)
    if field.name in ("top", "tracked"):
        width = _TOP if field.name == "top" else _TRACKED
        return _lists(_lists(_values(random, field.type.value_type.value_type, rows * width), width), _LAYERS + 1)
    if field.name in ("tokens", "output"):
        return _lists(_values(random, field.type.value_type, count * _TOKENS), _TOKENS)
    if pa.types.is_list(field.type) or field.name == "refused":
        return pa.nulls(count, field.type)
    return _values(random, field.type, count)


def _values(random: np.random.Generator, kind: Any, count: int) -> pa.Array:
    if pa.types.is_struct(kind):
        inner = [_values(random, field.type, count) for field in kind]
        return pa.StructArray.from_arrays(inner, fields=list(kind))
    if pa.types.is_integer(kind):
        return pa.array(random.zipf(1.5, count).clip(max=200_000), kind)
    if pa.types.is_boolean(kind):
        return pa.array(random.random(count) < 0.5)
    if pa.types.is_string(kind):
        vocabulary = pa.array([f"▁token{index}" for index in range(5000)])
        return vocabulary.take(pa.array(random.zipf(1.3, count).clip(max=5000) - 1))
    return pa.array(random.random(count), kind)


def _lists(values: pa.Array, width: int) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(np.arange(0, len(values) + 1, width), pa.int32()), values)


def main() -> None:
    """Write a run, and show how long the queries take."""
    parser = argparse.ArgumentParser("python -m benchmarks.query", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="layer rows (1,000,000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--refresh", action="store_true", help="rewrite the measured part of docs/performance.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = _timed(write_run(Path(folder) / "run", asked.rows), asked.rows, asked.rounds)
    Console().print(table.as_rich())
    if asked.refresh:
        put("bench-query", "\n" + "\n\n".join([measured_on(describe()), table.as_markdown()]) + "\n")


def _timed(run: Run, rows: int, rounds: int) -> Table:
    cells = []
    for name, sql in QUERIES.items():
        whole = [seconds_of(lambda sql=sql: query([open_run(run.path)], sql)) for _ in range(rounds)]
        with RunsDatabase([run]) as opened:
            before = time.process_time()
            alone = [seconds_of(lambda sql=sql: opened.query(sql)) for _ in range(rounds)]
            spent = (time.process_time() - before) / rounds
        cells.append([name, f"{statistics.median(whole):.2f} s", f"{statistics.median(alone):.2f} s", f"{spent:.2f} s"])
    size = sum(file.stat().st_size for file in run.path.rglob("*.parquet")) / 1e6
    title = f"{rows:,} layer rows in {len(run.manifest['shards'])} shards, {size:.0f} MB"
    return Table(title, ["", "with opening the run", "without", "processor"], cells)


if __name__ == "__main__":
    main()
