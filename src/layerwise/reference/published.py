"""The published figures, as they were carried into the package."""

import csv
import io
from functools import lru_cache
from importlib import resources
from typing import Any

SEED_PROMPT = "Question: What is the capital of Germany? Answer:"
LATER_PROMPT = "Give the city name only, plain text. The capital of Germany is called simply"

SEED = "seed_001.csv"
SEED_OUTPUT = "seed_001_final.csv"
SEED_PROBES = "seed_001_probes.csv"
SEED_TEMPERATURE = "seed_001_temperature.csv"
DENSE = "dense_seedprompt_a59f8df.csv"
LATER_PROBES = "later_probes.csv"
CANONICAL = "canonical_lens_20250629_curves.csv"
LATEST = "latest_curves.csv"
LATEST_SUMMARY = "latest_summary.csv"

_SHORT_NAMES = {"llama-3-8b": "Meta-Llama-3-8B", "mistral-7b": "Mistral-7B-v0.1"}
"""Aliases of `layerwise` that are not the end of a hub id."""


_TEXTS = {"model", "hf_id", "prompt", "token", "top1_token"}

Row = dict[str, Any]
"""A line of a published table, by column: numbers as float, empty cells of number columns as NaN."""


@lru_cache
def table(file: str) -> tuple[Row, ...]:
    """Return one published table. Token texts are kept as they are: "NA" and " " are tokens."""
    path = resources.files("layerwise.reference") / "data" / file
    lines = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8"), newline=""))
    return tuple({column: _cell(column, text) for column, text in line.items()} for line in lines)


def rows(file: str, name: str) -> list[Row]:
    """Return the rows of a published table that are about the model published as `name`."""
    return [row for row in table(file) if row["model"] == name]


def published_models() -> dict[str, int]:
    """Return the models that have published figures, by the name in the tables, and their layers."""
    return {row["model"]: int(row["n_layers"]) for row in table(LATEST_SUMMARY)}


def _cell(column: str, text: str) -> Any:
    if column in _TEXTS:
        return text
    if text in {"True", "False"}:
        return text == "True"
    try:
        return float(text or "nan")
    except ValueError:
        return text


def published_name(*names: str) -> str | None:
    """Return what the tables call the model that goes by `names`, or None if they don't have it.

    A name is a hub id, one of layerwise's aliases, or the path of a folder; only its last part
    counts, in any case.
    """
    known = {name.casefold(): name for name in published_models()} | _SHORT_NAMES
    for name in names:
        last = name.replace("\\", "/").rstrip("/").rpartition("/")[2].strip().casefold()
        if last in known:
            return known[last]
    return None


def blocks_done(seed_label: int) -> int:
    """Return the blocks done at a layer label of ``seed_001``: 0 for 0, k + 1 for k."""
    return seed_label + 1 if seed_label else 0


def lacks_soft_cap(name: str) -> bool:
    """Return whether the published lens left out this model's soft-cap, 30·tanh(z/30)."""
    return name.startswith("gemma-2-")


def lost_spaces(name: str) -> bool:
    """Return whether this model's tokens were published without their leading space."""
    return name.startswith("Mistral-7B")
