"""Runs of an older schema, rewritten in place.

Schema 2 kept two tables per shard (`shards/KEY/questions.parquet` and `layers.parquet`, one row per
layer) where schema 3 has one. What schema 2 did not measure stays null.
"""

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from layerwise.errors import StoreError
from layerwise.files import sha256_of
from layerwise.store.run import (
    OLDEST_SCHEMA,
    SCHEMA_VERSION,
    Run,
    open_run,
    read_manifest,
    scratch_folders,
    write_manifest,
    write_shard,
)
from layerwise.studies.study import plan_study

_TABLES = ("questions", "layers")
_PLACE = ("model", "lens", "question", "layer", "depth", "position")
"""Columns of schema 2's `layers` that say which row it is."""


@dataclass(frozen=True)
class _OldShard:
    """A shard of schema 2: a folder with two tables."""

    folder: Path
    entry: dict[str, Any]
    """The manifest's."""

    @property
    def key(self) -> str:
        return self.entry["key"]

    @property
    def damaged(self) -> list[str]:
        """Files that are not what was written."""
        files = {self.folder / f"{name}.parquet": self.entry["files"][f"{name}.parquet"] for name in _TABLES}
        return [str(file) for file, expected in files.items() if not file.is_file() or sha256_of(file) != expected]


def migratable(path: Path) -> int | None:
    """Return the older schema of a run that `migrate` can rewrite; None for any other run, or none at all."""
    try:
        version = read_manifest(path).get("schema")
    except StoreError:
        return None
    return version if isinstance(version, int) and OLDEST_SCHEMA <= version < SCHEMA_VERSION else None


def migrate(path: str | Path) -> Run:
    """Rewrite a run of an older schema in place and return it; no number changes.

    The new shards are written beside the old ones, then the manifest replaces the old one at once,
    and then the old shards go: an interruption leaves the old run or the new one, and migrating
    again goes on. A run of this schema stays as it is.

    A migrated shard keeps its key. Completing the run computes it again, because it lacks what
    schema 2 did not measure.

    Raises:
        StoreError: the run is damaged, or of a schema that cannot be migrated.
    """
    folder = Path(path)
    if migratable(folder) is not None:
        old = read_manifest(folder)
        shards = _old_shards(folder, old)
        if damaged := [file for shard in shards for file in shard.damaged]:
            raise StoreError(
                f"{len(damaged)} files of {folder} are not what was written: {', '.join(damaged)}. Numbers from them "
                "cannot be trusted, so nothing was migrated. Run the study again, into another folder."
            )
        with _storage_errors(folder):
            write_manifest(folder, _new_manifest(old, [_rewritten(folder, shard) for shard in shards]))
    run = open_run(folder)
    with _storage_errors(folder):
        old_shards = [folder / "shards" / shard["key"] for shard in run.manifest["shards"]]
        for left in [*filter(Path.is_dir, old_shards), *scratch_folders(folder)]:
            _remove(left)
    return run


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)


def _old_shards(folder: Path, manifest: dict[str, Any]) -> list[_OldShard]:
    try:
        shards = [_OldShard(folder / "shards" / entry["key"], entry) for entry in manifest["shards"]]
        well_formed = all(
            re.fullmatch(r"[0-9a-f]{24}", shard.key)
            and shard.entry["files"].keys() == {f"{name}.parquet" for name in _TABLES}
            for shard in shards
        )
    except (KeyError, TypeError, AttributeError):
        well_formed, shards = False, []
    if not well_formed:
        raise StoreError(f"{folder / 'manifest.json'} lacks parts of a manifest, or they are of another form.")
    return shards


def _rewritten(folder: Path, shard: _OldShard) -> dict[str, Any]:
    """Write a shard anew, and return the manifest's entry of it."""
    import pyarrow.parquet as pq

    from layerwise.store.tables import as_table

    questions, layers = (pq.read_table(shard.folder / f"{name}.parquet").to_pylist() for name in _TABLES)
    by_question: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in layers:
        by_question.setdefault((row["model"], row["lens"], row["question"]), []).append(row)
    rows = [_row(row, by_question.get((row["model"], row["lens"], row["question"]), []), shard) for row in questions]
    kept = {name: value for name, value in shard.entry.items() if name != "files"}
    return kept | {"sha256": write_shard(folder, shard.key, as_table(rows))}


def _row(question: dict[str, Any], layers: list[dict[str, Any]], shard: _OldShard) -> dict[str, Any]:
    """Return a question's row of schema 3, from its rows of both tables."""
    layers = sorted(layers, key=lambda row: row["layer"])
    if [row["layer"] for row in layers] != list(range(question["n_layers"] + 1)):
        raise StoreError(
            f"{shard.folder / 'layers.parquet'}: expected one row for each layer of question "
            f"{question['question']!r}, 0 to {question['n_layers']}; got layers {[row['layer'] for row in layers]}."
        )
    curves = {name: [row[name] for row in layers] for name in layers[0] if name not in _PLACE}
    asked = {"set": "", "item": question["question"], "direction": "", "wording": "", "group": ""}
    # A question without an answer has null in every layer there, and no curve here.
    there = {name: curve for name, curve in curves.items() if any(value is not None for value in curve)}
    return question | asked | there


def _new_manifest(old: dict[str, Any], shards: list[dict[str, Any]]) -> dict[str, Any]:
    planned = plan_study(old["study"], "the run's manifest")
    added = {
        "study": planned.study.model_dump(),
        "study_sum": planned.sum,
        "sets": {},
        "questions": len(planned.questions),
        "claims": [],
        "failures": {},
        "migrated_from_schema": old["schema"],
        "shards": shards,
    }
    return {name: value for name, value in old.items() if name not in ("format", "schema")} | added


@contextlib.contextmanager
def _storage_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder} could not be rewritten: {error.strerror or error}. No number was lost; make room or "
            "permissions, and migrate again."
        ) from error
