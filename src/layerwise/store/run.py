"""A run on disk: a manifest, and shards that are each written whole.

RUN/manifest.json            the study, its claims, the models, the shards with their sums
RUN/shards/KEY.parquet       one model, one lens, a group of questions (`store.tables.QUESTIONS`);
                             KEY is the hash of all that determines its numbers
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerwise.display import MimeBundle, display_of
from layerwise.errors import StoreError
from layerwise.files import sha256_of, write_text_whole, written_whole
from layerwise.store.manifest import checked_manifest
from layerwise.types import ModelInfo

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FORMAT = "layerwise run"

SCHEMA_VERSION = 3
"""Of the manifest and the table; raise it when either changes, and teach `store.migration` the step."""

_KEY = re.compile(r"[0-9a-f]{24}")

OLDEST_SCHEMA = 2
"""That `store.migration` can rewrite."""


@dataclass(frozen=True)
class Run:
    """A stored run. Opening one reads its manifest only, and never loads a model."""

    path: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        return self.manifest["study"]["name"]

    @property
    def study(self) -> dict[str, Any]:
        """The study as it was run."""
        return self.manifest["study"]

    @property
    def complete(self) -> bool:
        """Whether every shard that the study asks for is there."""
        return self.manifest["status"] == "complete"

    @property
    def failures(self) -> dict[str, str]:
        """Why models could not be read to the end, by name."""
        return self.manifest["failures"]

    @property
    def models(self) -> dict[str, ModelInfo]:
        """What each model was, by the name that it was asked for."""
        return {name: ModelInfo(**info) for name, info in self.manifest["models"].items()}

    def questions(self) -> "pd.DataFrame":
        """Return one row per model, lens and question: the columns of `store.tables.QUESTIONS` without its curves."""
        from layerwise.store.tables import without_curves

        return without_curves(self.table())

    def layers(self) -> "pd.DataFrame":
        """Return one row per model, lens, question and layer, of the questions that were not refused."""
        from layerwise.store.tables import by_layer

        return by_layer(self.table())

    def table(self, columns: list[str] | None = None) -> "pa.Table":
        """Return some columns of all shards, by default all (`store.tables.QUESTIONS`).

        Raises:
            StoreError: a shard is missing or damaged.
        """
        # Late: opening and listing runs, which need neither, stays instant.
        import pyarrow as pa

        from layerwise.store.tables import QUESTIONS

        parts = []
        for shard in self.manifest["shards"]:
            file = shard_file(self.path, shard["key"])
            try:
                parts.append(_read_shard(file, columns, shard["questions"]))
            except (OSError, pa.ArrowException) as error:
                raise StoreError(
                    f"{file} is missing or damaged ({error}). Complete the run: `layerwise run … --out {self.path} "
                    "--resume` computes again what is not there or not whole."
                ) from error
        if parts:
            found = pa.concat_tables(parts)
            if names := self.manifest.get("shown_names"):
                from layerwise.store.shown_names import with_shown_names

                found = with_shown_names(found, names)
            return found
        empty = QUESTIONS.empty_table()
        return empty.select(columns) if columns else empty

    def to_html(self, path: str | Path) -> None:
        """Write this run's view as one HTML file that needs nothing else. Raises StoreError if that fails."""
        display_of(self).to_html(path)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> MimeBundle:
        return display_of(self)._repr_mimebundle_()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, study={self.name!r}, models={list(self.models)!r})"

    def whole_shards(self) -> dict[str, dict[str, Any]]:
        """Return the manifest's entries of shards that are what was written, by key."""
        return {shard["key"]: shard for shard in self.manifest["shards"] if self._is_whole(shard)}

    def damaged_files(self) -> list[str]:
        """Return the files whose bytes are not those that were written, or that are gone."""
        return [f"shards/{shard['key']}.parquet" for shard in self.manifest["shards"] if not self._is_whole(shard)]

    def _is_whole(self, shard: dict[str, Any]) -> bool:
        file = shard_file(self.path, shard["key"])
        return file.is_file() and sha256_of(file) == shard["sha256"]


def _read_shard(file: Path, columns: list[str] | None, questions: list[str]) -> "pa.Table":
    """Return some of a shard's columns, by default all; those that are younger than it are null.

    Raises:
        pyarrow.ArrowInvalid: it has other columns than were written, or not one row for each question.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from layerwise.store.tables import LATER, QUESTIONS

    with pq.ParquetFile(file) as stored:
        table = stored.read(columns)
    wanted = columns or QUESTIONS.names
    for field in map(QUESTIONS.field, LATER.intersection(wanted).difference(table.column_names)):
        table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    if sorted(table.column_names) != sorted(wanted):
        raise pa.ArrowInvalid("it has other columns than were written")
    table = table.select(wanted)
    if not table.schema.equals(pa.schema([QUESTIONS.field(name) for name in wanted])):
        raise pa.ArrowInvalid("its columns have other types than were written")
    if table.num_rows != len(questions):
        raise pa.ArrowInvalid(f"it has {table.num_rows} rows, and {len(questions)} questions were written")
    return table


def open_run(path: str | Path) -> Run:
    """Return the run in a folder.

    Raises:
        StoreError: there is none, its manifest is damaged, or a newer version wrote it.
    """
    folder = Path(path)
    manifest = read_manifest(folder)
    version = manifest.get("schema")
    if version != SCHEMA_VERSION:
        raise StoreError(_other_schema(folder, version))
    return Run(folder, checked_manifest(manifest, folder / "manifest.json"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return a run's manifest, of whatever schema. Raises StoreError where there is none."""
    file = folder / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(f"{folder} holds no run: {file.name} is not there. `layerwise runs` lists runs.") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read as a manifest: {error}.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{file} is no manifest of a layerwise run.")
    return manifest


def _other_schema(folder: Path, version: Any) -> str:
    if isinstance(version, int) and version < OLDEST_SCHEMA:
        return f"{folder} was written in schema {version}, which is no longer read. Run the study again."
    if isinstance(version, int) and version < SCHEMA_VERSION:
        return (
            f"{folder} was written in schema {version}, and this version of layerwise reads schema {SCHEMA_VERSION}. "
            f"`layerwise runs migrate {folder}` rewrites it; no number changes."
        )
    return (
        f"{folder} was written in schema {version}; this version of layerwise reads schema {SCHEMA_VERSION}. "
        "Update layerwise to open it."
    )


def shard_file(run_folder: Path, key: str) -> Path:
    """Return where a shard is, or would be."""
    return run_folder / "shards" / f"{key}.parquet"


def stored_keys(run_folder: Path) -> set[str]:
    """Return the keys of all shards that are there, listed in the manifest or not."""
    return {file.stem for file in (run_folder / "shards").glob("*.parquet") if _KEY.fullmatch(file.stem)}


def scratch_folders(run_folder: Path) -> list[Path]:
    """Return what a process that was killed while it wrote has left (`files.written_whole`)."""
    found = [*run_folder.glob(".manifest.json.*"), *(run_folder / "shards").glob(".*.parquet.*")]
    return [path for path in found if path.is_dir() and not path.is_symlink()]


def write_shard(run_folder: Path, key: str, table: "pa.Table") -> str:
    """Write one shard, whole or not at all, and return its SHA-256."""
    import pyarrow.parquet as pq

    with written_whole(shard_file(run_folder, key)) as scratch:
        pq.write_table(table, scratch)
    return sha256_of(shard_file(run_folder, key))


def write_manifest(run_folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest, whole or not at all."""
    header = {"format": FORMAT, "schema": SCHEMA_VERSION}
    write_text_whole(run_folder / "manifest.json", json.dumps(header | manifest, indent=2, ensure_ascii=False) + "\n")
