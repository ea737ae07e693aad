"""A run on disk: a manifest, and shards that are each written whole.

RUN/manifest.json            the study, the models, the shards with the sums of their files
RUN/shards/KEY/              one model, one lens, a group of questions; KEY names all that
    questions.parquet        determines its numbers
    layers.parquet
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerwise.errors import StoreError
from layerwise.files import sha256_of, write_text_whole, written_whole
from layerwise.types import ModelInfo

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "layerwise run"

SCHEMA_VERSION = 2
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

    def whole_shards(self) -> dict[str, dict[str, Any]]:
        """Return the manifest's entries of shards whose files are what was written, by key."""
        shards = self.manifest["shards"]
        return {shard["key"]: shard for shard in shards if shard_sums(self.path, shard["key"]) == shard["files"]}

    def damaged_files(self) -> list[str]:
        """Return the files whose bytes are not those that were written, or that are gone."""
        bad = []
        for shard in self.manifest["shards"]:
            found = shard_sums(self.path, shard["key"])
            bad += [f"shards/{shard['key']}/{n}" for n, expected in shard["files"].items() if found.get(n) != expected]
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
    if not _is_manifest(manifest):
        raise StoreError(f"{file} lacks parts of a manifest, or they are of another form. Run the study again.")
    return Run(folder, manifest)


def _is_manifest(manifest: dict[str, Any]) -> bool:
    """Return whether a manifest has the parts that everything else takes for granted."""
    try:
        return (
            isinstance(manifest["study"]["name"], str)
            and isinstance(manifest["study"]["models"], list)
            and isinstance(manifest["study_sum"], str)
            and isinstance(manifest["status"], str)
            and isinstance(manifest["updated"], str)
            and all(ModelInfo(**info) for info in manifest["models"].values())
            and all(
                re.fullmatch(r"[0-9a-f]{24}", shard["key"])
                and shard["files"].keys() == {f"{t}.parquet" for t in _TABLES}
                for shard in manifest["shards"]
            )
        )
    except (KeyError, TypeError, AttributeError):
        return False


def write_shard(run_folder: Path, key: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Write one shard's tables, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from layerwise.store.tables import TABLES

    with written_whole(run_folder / "shards" / key) as scratch:
        scratch.mkdir()
        for name, schema in TABLES.items():
            pq.write_table(pa.Table.from_pylist(rows[name], schema=schema), scratch / f"{name}.parquet")


def shard_sums(run_folder: Path, key: str) -> dict[str, str]:
    """Return the files of a shard with their SHA-256, as a manifest lists them."""
    folder = run_folder / "shards" / key
    return {file.name: sha256_of(file) for file in sorted(folder.glob("*.parquet"))}


def write_manifest(run_folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest, whole or not at all."""
    header = {"format": FORMAT, "schema": SCHEMA_VERSION}
    write_text_whole(run_folder / "manifest.json", json.dumps(header | manifest, indent=2, ensure_ascii=False) + "\n")
