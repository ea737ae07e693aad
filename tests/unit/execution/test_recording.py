"""Studies run into a folder: whole, resumable, and the same when read back."""

import json
import resource
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from layerwise.errors import StoreError
from layerwise.execution.recording import record
from layerwise.lens_spec import LOGIT, RAW, LensSpec
from layerwise.lenses.folder import read_card
from layerwise.lenses.own import fitted_here, model_folder
from layerwise.readout.lenses import RawLens, resolve_lens
from layerwise.store.run import SCHEMA_VERSION, open_run, shard_file
from layerwise.studies.study import plan_study
from tests.lenses import saved_lens

STUDY = {
    "name": "toy",
    "title": "Toy",
    "lenses": ["logit", "raw"],
    "temperatures": [0.5, 2.0],
    "questions": [
        {
            "id": "a",
            "prompt": "The capital of Germany is",
            "answers": [" Berlin"],
            "alternatives": [" Paris"],
            "track": [" capital"],
        },
        {"id": "b", "role": "probe", "prompt": "The capital of"},
    ],
}


@pytest.fixture
def names(load_family):
    """The toy families by the name that a study calls them by."""
    return {load_family(family).info.name: family for family in ("qwen3", "gemma2")}


@pytest.fixture
def study(names):
    return plan_study(STUDY | {"models": list(names)}, "test")


@pytest.fixture
def load(load_family, names):
    """Loads a toy family, and counts the passes through the models."""

    class Counting:
        def __init__(self, family, passes):
            self.model, self.family, self.info = load_family(family), family, load_family(family).info
            self.passes = passes

        def identified(self):
            return self.model.identified()

        def refusal(self, request):
            return self.model.refusal(request)

        def open_lens(self, lens):
            return self.model.open_lens(lens)

        def compare_precision(self, request):
            self.model.compare_precision(request)

        def trace_all(self, *args, **kwargs):
            self.passes.append((self.family, [lens.spec.name for lens in kwargs["lenses"]]))
            return self.model.trace_all(*args, **kwargs)

    class Load:
        def __init__(self):
            self.loaded, self.passes = [], []

        def __call__(self, name):
            self.loaded.append(name)
            return Counting(names[name], self.passes)

    return Load()


def test_a_run_holds_what_the_traces_said(study, load, load_family, tmp_path):
    run = record(study, tmp_path / "run", load=load)
    assert run.complete
    requests = [study.request(question) for question in study.questions]
    traces = load_family("gemma2").trace_all(requests, lenses=study.study.lenses, check_length_groups=True)
    layers, questions = run.layers(), run.questions()
    for trace in traces[0]:
        mine = layers.query("question == 'a' and lens == @trace.lens and model == @trace.model.name")
        np.testing.assert_array_equal(mine["entropy_bits"], trace.entropy_bits[:, 0])
        np.testing.assert_array_equal(mine["answer_rank"], trace.answer_rank)
        assert [top[0]["id"] for top in mine["top"]] == trace.top_ids[:, 0, 0].tolist()
        assert mine["tracked"].iloc[0][0]["text"] == " capital"
    row = questions.query("question == 'a'").iloc[-1]
    assert row["prompt"] == "The capital of Germany is"
    assert [entry["temperature"] for entry in row["temperatures"]] == [0.5, 2.0]
    assert bool(questions.query("question == 'b'")["answer"].isna().all())
    assert all(row["identity_error"] <= row["identity_limit"] for row in questions.to_dict("records"))


def test_resuming_a_complete_run_computes_nothing(study, load, tmp_path):
    first = record(study, tmp_path / "run", load=load)
    before = len(load.passes)
    again = record(study, tmp_path / "run", load=load, resume=True)
    assert len(load.passes) == before
    assert again.layers().equals(first.layers())


def test_resuming_computes_exactly_the_missing_shard(study, names, load, tmp_path):
    first = record(study, tmp_path / "run", load=load)
    lost = next(s for s in first.manifest["shards"] if names[s["model"]] == "gemma2" and s["lens"] == "raw")
    shard_file(tmp_path / "run", lost["key"]).unlink()
    load.passes.clear()
    again = record(study, tmp_path / "run", load=load, resume=True)
    assert load.passes == [("gemma2", ["logit", "raw"])], "all lenses, or the last digits would change"
    assert {shard["key"]: shard["sha256"] for shard in again.manifest["shards"]} == {
        shard["key"]: shard["sha256"] for shard in first.manifest["shards"]
    }
    assert again.layers().equals(first.layers())
    assert again.damaged_files() == []


class Fitted(RawLens):
    """A lens that has numbers of its own, under the raw lens's name."""

    def __init__(self, factor):
        self.factor = factor
        self.spec = LensSpec("raw", "states, scaled", ends_at_output=False, sum=f"{factor:064.0f}")

    def rows(self, states, output_head):
        return super().rows(states, output_head) * self.factor


def test_a_lens_that_was_fitted_again_is_read_again(study, load, tmp_path, monkeypatch):
    """Its name is the same, and so is all else but the numbers in it."""
    factor = 2.0
    monkeypatch.setattr(
        "layerwise.tracing.model.open_lens", lambda lens, _: Fitted(factor) if lens == "raw" else resolve_lens(lens)
    )
    first = record(study, tmp_path / "run", load=load).layers()
    load.passes.clear()
    record(study, tmp_path / "run", load=load, resume=True)
    assert load.passes == []
    factor = 5.0
    again = record(study, tmp_path / "run", load=load, resume=True).layers()
    assert len(load.passes) == 2
    order = ["lens", "model", "question", "layer"]
    before, after = (each.sort_values(order)["entropy_bits"].to_numpy() for each in (first, again))
    lens = first.sort_values(order)["lens"].to_numpy()
    assert np.array_equal(before[lens == "logit"], after[lens == "logit"])
    assert not (before[lens == "raw"] == after[lens == "raw"]).any()


@pytest.fixture
def fitted(study, names, load_family, tmp_path):
    """A study of one model with a fitted lens, and the lens's folder."""
    model = next(iter(names))
    folder = saved_lens(tmp_path / "home" / "ada" / "lens", load_family(names[model]))

    def plan():
        return plan_study(STUDY | {"models": [model], "lenses": ["logit", "ridge:lens"]}, "test", folder.parent)

    return plan, folder, load_family(names[model])


def test_a_fitted_lens_is_a_lens_like_any_other(fitted, load, tmp_path):
    plan, folder, model = fitted
    run = record(plan(), tmp_path / "run", load=load)
    requests = [plan().request(question) for question in plan().questions]
    traces = model.trace_all(requests, lenses=["logit", f"ridge:{folder}"], check_length_groups=True)
    layers = run.layers()
    read = layers.query("lens == 'ridge:lens' and question == 'a'").sort_values("layer")
    assert np.array_equal(read["entropy_bits"].to_numpy(), traces[0][1].entropy_bits[:, traces[0][1].last])
    assert run.study["lenses"] == ["logit", "ridge:lens"]
    sums = [shard.get("lens_sum") for shard in run.manifest["shards"]]
    assert sums == [None, read_card(folder).tensors_sum]
    assert "home/ada" not in (tmp_path / "run" / "manifest.json").read_text(), "no folder is told"


def test_a_run_with_a_lens_that_was_fitted_again_is_another(fitted, load, tmp_path):
    plan, folder, model = fitted
    before = plan()
    record(before, tmp_path / "run", load=load)
    saved_lens(folder, model, seed=5)
    assert plan().sum != before.sum
    with pytest.raises(StoreError, match="a run of another study, or of this one before it was changed"):
        record(plan(), tmp_path / "run", load=load, resume=True)


def test_a_models_own_lens_has_the_keys_of_its_numbers(names, load, load_family, tmp_path, monkeypatch):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))
    name = next(iter(names))
    model, folder = load_family(names[name]), fitted_here() / str(model_folder(name)) / "ridge"
    saved_lens(folder, model)
    study = plan_study(STUDY | {"models": [name], "lenses": ["ridge"]}, "test")
    first = record(study, tmp_path / "run", load=load).manifest["shards"]
    saved_lens(folder, model, seed=5)
    again = record(study, tmp_path / "run", load=load, resume=True).manifest["shards"]
    assert len(first) == len(again) == 1
    assert first[0]["key"] != again[0]["key"]
    assert again[0]["lens_sum"] == read_card(folder).tensors_sum


def test_a_lens_that_lacks_layers_is_refused_where_only_the_model_shows_it(fitted, load, tmp_path):
    _, folder, model = fitted
    torch.save({"J": {1: torch.eye(64)}, "n_prompts": 1, "d_model": 64}, folder.parent / "part.pt")
    lenses = {"models": [model.info.name], "lenses": ["logit", "jacobian:part.pt"]}
    run = record(plan_study(STUDY | lenses, "test", folder.parent), tmp_path / "run", load=load)
    [reason] = run.failures.values()
    assert "has no translator for layers 1 and 3 of 4" in reason


def test_the_keys_of_lenses_that_are_not_fitted_hold_their_names_alone():
    """As those of stored runs do, which are to be resumed."""
    assert (LOGIT.key, RAW.key) == ("logit", "raw")


def test_an_interruption_leaves_a_run_that_says_so_and_can_be_completed(study, names, load, tmp_path):
    def interrupted(name):
        if names[name] == "gemma2":
            raise KeyboardInterrupt
        return load(name)

    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        record(study, folder, load=interrupted)
    left = open_run(folder)
    assert not left.complete
    assert len(left.manifest["shards"]) == 2, "one model, two lenses"
    assert left.damaged_files() == []
    assert not list(folder.rglob(".*")), "no scratch files are left"
    load.passes.clear()
    assert record(study, folder, load=load, resume=True).complete
    assert {name for name, _ in load.passes} == {"gemma2"}


def test_a_folder_with_another_study_or_other_files_is_refused(study, load, tmp_path):
    record(study, tmp_path / "run", load=load)
    other = plan_study(study.study.model_dump() | {"top_k": 7}, "test")
    with pytest.raises(StoreError, match="another study"):
        record(other, tmp_path / "run", load=load, resume=True)
    with pytest.raises(StoreError, match="complete run of this study already"):
        record(study, tmp_path / "run", load=load)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(StoreError, match="not empty"):
        record(study, tmp_path / "mine", load=load)
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"


def test_a_folder_that_cannot_be_written_is_named(study, load, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="could not be written"):
        record(study, tmp_path / "file" / "run", load=load)
    assert load.loaded == [], "nothing was computed first"


def test_a_disk_that_fills_leaves_whole_shards_only(study, load, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill_the_disk(what, done, total):
        if done:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))

    try:
        with pytest.raises(StoreError, match="could not be written"):
            record(study, tmp_path / "run", load=load, on_progress=fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = open_run(tmp_path / "run")
    assert not left.complete
    assert left.damaged_files() == []
    assert not list((tmp_path / "run").rglob(".*"))


def test_a_run_opens_after_it_was_moved(study, load, tmp_path):
    before = record(study, tmp_path / "run", load=load).layers()
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    moved = open_run(tmp_path / "elsewhere")
    assert moved.damaged_files() == []
    assert moved.layers().equals(before)


def test_tampering_and_loss_are_found(study, load, tmp_path):
    run = record(study, tmp_path / "run", load=load)
    file = next((tmp_path / "run").rglob("*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    assert run.damaged_files() == [str(file.relative_to(tmp_path / "run"))]
    file.write_bytes(bytes(content[: len(content) // 2]))
    with pytest.raises(StoreError, match="damaged"):
        run.layers()
    file.unlink()
    with pytest.raises(StoreError, match="missing"):
        run.layers()


@pytest.mark.parametrize(
    "change", [lambda t: t.slice(1), lambda t: t.drop_columns(["prompt"]), lambda t: t.slice(0, 0)]
)
def test_a_shard_with_other_rows_or_columns_is_not_read(study, load, tmp_path, change):
    """It can be read as a table, and its numbers would go into every mean."""
    run = record(study, tmp_path / "run", load=load)
    file = next((run.path / "shards").glob("*.parquet"))
    pq.write_table(change(pq.read_table(file)), file)
    with pytest.raises(StoreError, match=rf"{file.name} is missing or damaged \(it has .*--resume"):
        open_run(run.path).questions()
    record(study, run.path, load=load, resume=True).questions()


def test_resuming_computes_a_damaged_shard_again(study, load, tmp_path):
    first = record(study, tmp_path / "run", load=load)
    before = first.layers()
    file = sorted((tmp_path / "run").rglob("*.parquet"))[0]
    file.write_bytes(file.read_bytes()[:-10] + b"0123456789")
    load.passes.clear()
    again = record(study, tmp_path / "run", load=load, resume=True)
    assert len(load.passes) == 1
    assert again.damaged_files() == []
    assert again.layers().equals(before)


def test_a_resume_that_fails_takes_nothing_away(study, load, tmp_path):
    before = record(study, tmp_path / "run", load=load).layers()

    def fails(name):
        raise StoreError("no model today")

    with pytest.raises(StoreError, match="today"):
        record(study, tmp_path / "run", load=fails, resume=True)
    assert open_run(tmp_path / "run").layers().equals(before)
    assert open_run(tmp_path / "run").complete


def test_a_file_where_the_run_should_be_is_an_error(study, load, tmp_path):
    (tmp_path / "file").write_text("keep me")
    with pytest.raises(StoreError, match="is a file"):
        record(study, tmp_path / "file", load=load)
    assert (tmp_path / "file").read_text() == "keep me"


def test_a_manifest_that_points_elsewhere_is_refused(study, load, tmp_path):
    record(study, tmp_path / "run", load=load)
    manifest = tmp_path / "run" / "manifest.json"
    data = json.loads(manifest.read_text())
    data["shards"][0]["key"] = "../../elsewhere"
    manifest.write_text(json.dumps(data))
    with pytest.raises(StoreError, match="lacks parts of a manifest"):
        open_run(tmp_path / "run")
    manifest.write_text(json.dumps({"format": "layerwise run", "schema": SCHEMA_VERSION}))
    with pytest.raises(StoreError, match="lacks parts of a manifest"):
        open_run(tmp_path / "run")


def test_what_is_no_run_is_refused(study, load, tmp_path):
    with pytest.raises(StoreError, match="holds no run"):
        open_run(tmp_path)
    record(study, tmp_path / "run", load=load)
    manifest = tmp_path / "run" / "manifest.json"
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(data | {"schema": 99}))
    with pytest.raises(StoreError, match="schema 99"):
        open_run(tmp_path / "run")
    manifest.write_text(json.dumps({"anything": 1}))
    with pytest.raises(StoreError, match="no manifest"):
        open_run(tmp_path / "run")
    manifest.write_text('{"format": "layer')
    with pytest.raises(StoreError, match="cannot be read"):
        open_run(tmp_path / "run")


def test_a_program_may_load_models_under_other_names_than_the_study_s(load_family, tmp_path):
    planned = plan_study(STUDY | {"models": ["mine"]}, "test")
    run = record(planned, tmp_path / "run", load=lambda name: load_family("qwen3"))
    assert run.complete
    assert set(open_run(run.path).questions()["model"]) == {load_family("qwen3").info.name}
    assert record(planned, tmp_path / "run", load=lambda name: load_family("qwen3"), resume=True).complete
