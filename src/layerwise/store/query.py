"""SQL over stored runs: nothing is computed again, and nothing can be written.

runs        one row per run
questions   one row per run, model, lens and question: what is not a list in `store.tables.QUESTIONS`
layers      one row per run, model, lens, question and layer, of questions that were not refused

Columns named `set` and `group` are words of SQL too; "group" has to be quoted.
"""

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from glob import escape
from pathlib import Path
from typing import Any, Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from layerwise.errors import StoreError
from layerwise.store.run import Run, shard_file
from layerwise.store.tables import CURVES, LATER, QUESTIONS

_RUNS = {
    "run": "VARCHAR",
    "name": "VARCHAR",
    "study": "VARCHAR",
    "title": "VARCHAR",
    "status": "VARCHAR",
    "created": "VARCHAR",
    "updated": "VARCHAR",
    "models": "VARCHAR[]",
    "failures": "VARCHAR[]",
    "questions": "BIGINT",
    "shards": "BIGINT",
    "layerwise": "VARCHAR",
}
_SCALARS = [field.name for field in QUESTIONS if not pa.types.is_nested(field.type)]
_OF_THE_QUESTION = ("set", "item", "direction", "wording", "group", "role", "answer", "known", "n_layers")
_TOP = ("id", "text", "prob")

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "python_enable_replacements": "false",  # or a query could name variables of this process
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "temp_directory": "",  # a query that needs more than memory fails; it leaves nothing in the working folder
}
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+)?", re.IGNORECASE)


def query(runs: Sequence[Run], sql: str) -> pa.Table:
    """Return the rows that one SELECT gives, over the tables `runs`, `questions` and `layers`.

    DESCRIBE, SUMMARIZE and EXPLAIN are questions too; every other statement is refused. Only shards
    that the manifests list are read.

    Raises:
        StoreError: the SQL is not one question, or DuckDB cannot answer it; a shard is missing.
    """
    with RunsDatabase(runs) as opened:
        return opened.query(sql)


class RunsDatabase:
    """Runs opened for several queries. It can read their shards, and reach nothing else on the machine."""

    def __init__(self, runs: Sequence[Run]) -> None:
        files = _shard_files(runs)
        self._connection = duckdb.connect(":memory:", config=_SETTINGS)
        try:
            self._make_views(runs, files)
            self._lock([file for some in files.values() for file in some])
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def query(self, sql: str) -> pa.Table:
        """Return the rows that one SELECT gives. Raises StoreError, with DuckDB's message."""
        try:
            self._refuse_all_but_questions(sql)
            # Even a SELECT can hold an INSERT (WITH x AS (INSERT …)): this stops it.
            self._connection.execute("BEGIN TRANSACTION READ ONLY")
            try:
                return self._connection.sql(sql).to_arrow_table()
            finally:
                self._connection.execute("ROLLBACK")
        except duckdb.Error as error:
            raise StoreError(f"The query cannot be answered. {str(error).strip()}") from error

    def _refuse_all_but_questions(self, sql: str) -> None:
        statements = self._connection.extract_statements(sql)
        if len(statements) != 1:
            raise StoreError(f"Expected one SQL statement; got {len(statements)}.")
        if self._asks(statements[0]):
            return
        raise StoreError(
            f"{statements[0].type.name} is refused: stored runs can be read with SQL, and never changed. Ask with "
            "SELECT, WITH, DESCRIBE, SUMMARIZE or EXPLAIN SELECT."
        )

    def _asks(self, statement: duckdb.Statement) -> bool:
        if statement.type == duckdb.StatementType.EXPLAIN:
            # EXPLAIN ANALYZE runs what follows, and a COPY could write over the shards that may be read.
            found = _EXPLAIN.match(statement.query)
            return found is not None and self._is_select(statement.query[found.end() :])
        return statement.type == duckdb.StatementType.SELECT

    def _is_select(self, sql: str) -> bool:
        return [each.type for each in self._connection.extract_statements(sql)] == [duckdb.StatementType.SELECT]

    def _make_views(self, runs: Sequence[Run], files: dict[str, list[Path]]) -> None:
        columns = ", ".join(f"{_name(name)} {kind}" for name, kind in _RUNS.items())
        self._connection.execute(f"CREATE TABLE runs ({columns})")
        for run in runs:
            row = _run_row(run)
            places = ", ".join("?" for _ in row)
            self._connection.execute(f"INSERT INTO runs VALUES ({places})", list(row.values()))
        # Names and types of all columns come from here, also where no run has a shard yet.
        self._connection.register("no_rows", QUESTIONS.empty_table())
        every = ["SELECT NULL::VARCHAR AS run, * FROM no_rows WHERE false"]
        every += [
            f"SELECT {_text(run)} AS run, * FROM {_parquet(alike)}"
            for run, some in files.items()
            for alike in _with_same_columns(some)
        ]
        self._connection.execute(f"CREATE VIEW stored AS {' UNION ALL BY NAME '.join(every)}")
        self._connection.execute(f"CREATE VIEW questions AS SELECT run, {_names(_SCALARS)} FROM stored")
        self._connection.execute(_LAYERS)

    def _lock(self, files: list[Path]) -> None:
        """Leave the connection access to these files alone, for good."""
        # As they are named in the views too: there, what is special in a pattern is escaped.
        allowed = {name for file in files for name in (str(file), escape(str(file)))}
        self._connection.execute(f"SET allowed_paths = [{', '.join(_text(name) for name in sorted(allowed))}]")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")


def as_csv(table: pa.Table) -> str:
    """Return a table as CSV: nothing for null, JSON for what is nested."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(table.column_names)
    for batch in table.to_batches():
        writer.writerows(zip(*(map(_cell, column.to_pylist()) for column in batch.columns), strict=True))
    return written.getvalue()


def as_json(table: pa.Table, *, ascii_only: bool = False) -> str:
    """Return a table as a JSON array with an object per row; NaN and infinities, which JSON lacks, become null.

    Raises:
        StoreError: two columns have one name.
    """
    if repeated := [name for name, count in Counter(table.column_names).items() if count > 1]:
        raise StoreError(f"Two columns are called {repeated[0]!r}, and a JSON object has each name once. Rename: AS.")
    rows = (json.dumps(_plain(row), ensure_ascii=ascii_only, allow_nan=False) for row in table.to_pylist())
    return "[" + ",".join(f"\n {row}" for row in rows) + "\n]\n"


def _cell(value: Any) -> Any:
    return json.dumps(_plain(value), ensure_ascii=False) if isinstance(value, list | dict) else value


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _shard_files(runs: Sequence[Run]) -> dict[str, list[Path]]:
    """Return the files to read, by the run's path as it is shown."""
    folders = [run.path.resolve() for run in runs]
    if repeated := [folder for folder, count in Counter(folders).items() if count > 1]:
        raise StoreError(f"{repeated[0]} is given more than once, so its rows would count as often. Give it once.")
    files = {
        str(run.path): [shard_file(folder, shard["key"]) for shard in run.manifest["shards"]]
        for run, folder in zip(runs, folders, strict=True)
    }
    for run, some in files.items():
        if missing := [file for file in some if not file.is_file()]:
            raise StoreError(
                f"{missing[0]} is missing. Complete the run: `layerwise run … --out {run} --resume` computes again "
                "what is not there or not whole."
            )
    return files


def _with_same_columns(files: list[Path]) -> list[list[Path]]:
    """Divide shards by the later columns that they lack, each of which is then null.

    DuckDB would take the first file's columns for those of all, or else (`union_by_name`) take twice the time.
    """
    by_lack: dict[frozenset[str], list[Path]] = {}
    for file in files:
        try:
            lacking = LATER.difference(pq.read_schema(file).names) if LATER else LATER
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f"{file} is damaged ({error}). Complete its run with `layerwise run … --resume`."
            ) from error
        by_lack.setdefault(lacking, []).append(file)
    return list(by_lack.values())


def _run_row(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    row = {
        "run": str(run.path),
        "name": run.path.resolve().name,
        "study": run.name,
        "models": run.study["models"],
        "failures": [f"{model}: {reason}" for model, reason in run.failures.items()],
        "shards": len(manifest["shards"]),
        "title": run.study.get("title"),
        "layerwise": manifest.get("versions", {}).get("layerwise"),
    }
    return {name: row.get(name, manifest.get(name)) for name in _RUNS}


def _parquet(files: list[Path]) -> str:
    return f"read_parquet([{', '.join(_text(escape(str(file))) for file in files)}])"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(name: str) -> str:
    return f'"{name}"'


def _names(names: Sequence[str]) -> str:
    return ", ".join(_name(name) for name in names)


# Only the number of the layer is unnested, and every curve is read at it: DuckDB leaves out curves that
# a query does not name. It does not do so for `unnest(curve)`, which takes two to four times as long.
_LAYERS = f"""
CREATE VIEW layers AS
SELECT run, {_names(("model", "lens", "question", *_OF_THE_QUESTION))},
       layer, layer / n_layers AS depth,
       {", ".join(f"{_name(curve)}[layer + 1] AS {_name(curve)}" for curve in CURVES)},
       {", ".join(f"top[layer + 1][1].{field} AS top_{field}" for field in _TOP)}
FROM (SELECT *, unnest(range(n_layers + 1)) AS layer FROM stored WHERE refused IS NULL)
"""
