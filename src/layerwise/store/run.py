"""A run on disk: a manifest, and shards that are each written whole.

RUN/manifest.json            the study, the models, the shards with the sums of their files
RUN/shards/KEY/              one model, one lens, a group of questions; KEY names all that
    questions.parquet        determines its numbers
    layers.parquet
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerwise.errors import StoreError
from layerwise.files import sha256_of, write_text_whole, written_whole
from layerwise.types import ModelInfo

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "layerwise run"

SCHEMA_VERSION = 1
"""Of the manifest and the tables; raise it when either changes."""

_TABLES = ("questions", "layers")


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
    def models(self) -> dict[str, ModelInfo]:
        """What each model was, by the name that it was asked for."""
        return {name: ModelInfo(**info) for name, info in self.manifest["models"].items()}

    def questions(self) -> "pd.DataFrame":
        """Return one row per model, lens and question (`store.tables.QUESTIONS`)."""
        return self._table("questions")

    def layers(self) -> "pd.DataFrame":
        """Return one row per model, lens, question, layer and position (`store.tables.LAYERS`)."""
        return self._table("layers")

    def _table(self, name: str) -> "pd.DataFrame":
        # Late: opening and listing runs, which need neither, stays instant.
        import pyarrow as pa
        import pyarrow.parquet as pq

        from layerwise.store.tables import TABLES

        parts = []
        for shard in self.manifest["shards"]:
            file = self.path / "shards" / shard["key"] / f"{name}.parquet"
            try:
                parts.append(pq.read_table(file))
            except (OSError, pa.ArrowInvalid) as error:
                raise StoreError(
                    f"{file} is missing or damaged ({error}). Complete the run: `layerwise run … --out {self.path} "
                    "--resume` computes what is not there; delete the shard's folder first if it is damaged."
                ) from error
        table = pa.concat_tables(parts) if parts else TABLES[name].empty_table()
        return table.to_pandas(ignore_metadata=True)

    def damaged_files(self) -> list[str]:
        """Return the files whose bytes are not those that were written, or that are gone."""
        bad = []
        for shard in self.manifest["shards"]:
            for name, expected in shard["files"].items():
                file = self.path / "shards" / shard["key"] / name
                if not file.is_file() or sha256_of(file) != expected:
                    bad.append(str(file.relative_to(self.path)))
        return bad


def open_run(path: str | Path) -> Run:
    """Return the run in a folder.

    Raises:
        StoreError: there is none, its manifest is damaged, or a newer version wrote it.
    """
    folder = Path(path)
    file = folder / "manifest.json"
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(f"{folder} holds no run: {file.name} is not there. `layerwise runs` lists runs.") from error
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read as a manifest: {error}.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{file} is no manifest of a layerwise run.")
    version = manifest.get("schema")
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{folder} was written in schema {version}; this version of layerwise reads schema {SCHEMA_VERSION}. "
            "Update layerwise to open it."
        )
    return Run(folder, manifest)


def write_shard(run_folder: Path, key: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Write one shard's tables, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from layerwise.store.tables import TABLES

    with written_whole(run_folder / "shards" / key) as scratch:
        scratch.mkdir()
        for name, schema in TABLES.items():
            pq.write_table(pa.Table.from_pylist(rows[name], schema=schema), scratch / f"{name}.parquet")


def shard_files(run_folder: Path, key: str) -> dict[str, str] | None:
    """Return a stored shard's files with their sums, or None if it is not there."""
    folder = run_folder / "shards" / key
    files = {f"{name}.parquet": folder / f"{name}.parquet" for name in _TABLES}
    if not all(file.is_file() for file in files.values()):
        return None
    return {name: sha256_of(file) for name, file in files.items()}


def write_manifest(run_folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest, whole or not at all."""
    header = {"format": FORMAT, "schema": SCHEMA_VERSION}
    write_text_whole(run_folder / "manifest.json", json.dumps(header | manifest, indent=2, ensure_ascii=False) + "\n")
