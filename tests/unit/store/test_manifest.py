"""What is opened as a run has every part of a manifest, or is refused with the part's name."""

import copy
import json
import math

import pytest

from layerwise.analysis.overview import Overview
from layerwise.errors import StoreError
from layerwise.store.query import query
from layerwise.store.run import Run, open_run, write_manifest

NUMBERS = ("n_layers", "d_model", "n_heads", "n_kv_heads", "vocab_size", "context_length", "parameters")
TEXTS = ("name", "source", "location", "revision", "weights_sum", "architecture", "dtype", "device")
MODEL = dict.fromkeys(TEXTS, "m") | dict.fromkeys(NUMBERS, 8)
CLAIM = {
    "id": "c",
    "sentence": "It settles late.",
    "estimator": "settled_depth",
    "region": "> 0.5",
    "null": "Anywhere.",
}
MANIFEST = {
    "status": "incomplete",
    "created": "2026-01-01T00:00:00+00:00",
    "updated": "2026-01-01T00:00:00+00:00",
    "study": {
        "name": "s",
        "title": "S",
        "description": "",
        "models": ["m"],
        "lenses": ["logit"],
        "top_k": 5,
        "temperatures": [0.5],
        "sets": [{"name": "a.csv", "items": None, "directions": [], "wordings": []}],
        "questions": [{"id": "q", "role": "main", "prompt": "P", "answers": [" A"], "alternatives": [], "track": []}],
        "claims": "claims.toml",
    },
    "study_sum": "0",
    "sets": {"a.csv": {"name": "a", "version": 1, "title": "A", "description": "", "source": "", "sum": "0"}},
    "questions": 1,
    "claims": [CLAIM],
    "models": {"m": MODEL},
    "failures": {"n": "PromptError: no"},
    "versions": {"layerwise": "1"},
    "shards": [],
}
SHARD = {"key": "0" * 24, "model": "m", "lens": "logit", "questions": ["q"], "sha256": "0"}


def parts(data, path=()):
    """Yield where every part of a manifest is."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from parts(value, (*path, key))


def changed(path, other):
    """Return the manifest with something else in one of its parts."""
    manifest = holder = copy.deepcopy(MANIFEST)
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = other
    return manifest


def test_a_manifest_comes_back_as_it_was_written(tmp_path):
    write_manifest(tmp_path, MANIFEST | {"shards": [SHARD], "migrated_from_schema": 2})
    assert open_run(tmp_path).manifest == json.loads((tmp_path / "manifest.json").read_text("utf-8"))


def test_whatever_stands_in_a_part_the_run_is_refused_or_can_be_listed(tmp_path):
    for path in parts(MANIFEST):
        for other in (None, "x", [], {}, -1, math.inf, True):
            write_manifest(tmp_path, changed(path, other))
            try:
                run = open_run(tmp_path)
            except StoreError:
                continue
            assert ", ".join([run.name, run.study["title"], run.study["description"], *run.models, *run.failures])
            if path[0] in ("status", "questions", "versions"):  # each is a column, and a query takes long
                assert query([run], "FROM runs").num_rows == 1


@pytest.mark.parametrize(
    ("path", "other", "said"),
    [
        (("study", "title"), 3, r"study\.title: should be a valid string"),
        (("study", "lenses"), [], r"study\.lenses: List should have at least 1 item"),
        (("study", "temperatures"), "x", r"study\.temperatures: should be a valid array"),
        (("study", "questions", 0, "prompt"), None, r"study\.questions\.0\.prompt"),
        (("sets",), {}, "sets: 'a.csv' is described but not asked in the study, or the reverse"),
        (("versions",), None, "versions"),
        (("models", "m", "n_layers"), "x", r"models\.m\.n_layers: should be a valid integer"),
        (("claims",), "x", "claims: should be a valid array"),
        (("shards",), [SHARD, SHARD], "shards: 0{24} stands there more than once"),
        (("shards",), [SHARD | {"model": "n"}], "models: 'n' is not described, and shard 0{24} is of that model"),
    ],
)
def test_a_refusal_names_the_part(tmp_path, path, other, said):
    write_manifest(tmp_path, changed(path, other))
    with pytest.raises(StoreError, match=said):
        open_run(tmp_path)


def test_a_model_of_the_study_has_to_be_described_under_its_own_name(tmp_path):
    write_manifest(tmp_path, MANIFEST | {"shards": [SHARD], "models": {"another": MODEL}})
    with pytest.raises(StoreError, match="models: 'm' is not described"):
        open_run(tmp_path)


def test_shards_may_have_the_names_that_the_models_themselves_go_by(tmp_path):
    shard = SHARD | {"model": "its own name"}
    models = {"m": MODEL | {"name": "its own name"}}
    write_manifest(tmp_path, MANIFEST | {"shards": [shard], "models": models})
    assert open_run(tmp_path).models["m"].name == "its own name"


@pytest.mark.parametrize(("part", "other"), [("id", None), ("region", "about half"), ("sets", "x"), ("more", 1)])
def test_a_claim_that_cannot_be_judged_is_named(tmp_path, part, other):
    overview = Overview(Run(tmp_path, changed(("claims", 0, part), other)))
    with pytest.raises(StoreError, match=rf"claims: 0\.{part}"):
        _ = overview.claims
