"""Runs that are killed at any moment, interrupted, and resumed: in the end all is as if nothing had happened."""

import os
import random
import signal
import time

import pytest

from benchmarks.killed import SHARDS, content, damaged, runs, scratch, unlisted
from layerwise.errors import StoreError
from layerwise.execution import tasks
from layerwise.execution.recording import record
from layerwise.files import held_alone
from layerwise.store import writer
from layerwise.store.run import open_run, shard_file
from layerwise.studies.study import plan_study


@pytest.fixture(scope="module")
def starter():
    with runs() as found:
        yield found


@pytest.fixture(scope="module")
def whole(starter, tmp_path_factory):
    """A run that nothing interrupted, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("killed") / "whole"
    seconds = starter.complete(folder)
    return folder, seconds


def test_a_killed_run_is_completed_to_the_very_bytes(starter, whole, tmp_path):
    folder, seconds = whole
    draw = random.Random(3)
    for kill in range(5):
        run = tmp_path / f"run-{kill}"
        starter.end_after(run, draw.uniform(kill, kill + 1) / 5 * seconds)
        assert damaged(run) == [], "a manifest lists what is whole on disk only"
        starter.complete(run)
        assert scratch(run) == []
        assert content(run) == content(folder)


def test_a_resume_that_is_killed_too_can_be_resumed(starter, whole, tmp_path):
    folder, seconds = whole
    run = tmp_path / "run"
    stored = []
    for _ in range(3):
        starter.end_after(run, seconds * 0.55)
        stored.append(len(open_run(run).manifest["shards"]) if (run / "manifest.json").exists() else 0)
    assert stored == sorted(stored), "what was stored stays"
    starter.complete(run)
    starter.complete(run)
    assert content(run) == content(folder)
    assert scratch(run) == []


def test_ctrl_c_leaves_a_run_that_can_be_resumed(starter, whole, tmp_path):
    folder, _ = whole
    run = tmp_path / "run"
    process = starter.start(run)
    while not list(run.glob("shards/[!.]*")):
        time.sleep(0.002)
    os.kill(process, signal.SIGINT)
    assert starter.wait() == 130
    assert damaged(run) == []
    left = open_run(run)
    assert not left.complete
    assert len(left.manifest["shards"]) < SHARDS
    starter.complete(run)
    assert content(run) == content(folder)
    assert scratch(run) == []


def test_of_two_processes_that_resume_one_run_the_second_waits_and_each_shard_is_written_once(starter, whole, tmp_path):
    folder, _ = whole
    run = tmp_path / "run"
    first = starter.start(run)
    while not written(run):
        time.sleep(0.002)
    os.kill(first, signal.SIGSTOP)
    before = written(run)
    second = starter.start(run)
    time.sleep(0.3)
    assert written(run) == before
    os.kill(first, signal.SIGCONT)
    assert starter.wait(first) == 0
    after = written(run)
    assert starter.wait(second) == 0
    assert written(run) == after
    assert content(run) == content(folder)
    assert scratch(run) == []


def test_where_the_first_of_two_processes_is_killed_the_second_goes_on(starter, whole, tmp_path):
    folder, _ = whole
    run = tmp_path / "run"
    first = starter.start(run)
    while not written(run):
        time.sleep(0.002)
    os.kill(first, signal.SIGSTOP)
    second = starter.start(run)
    time.sleep(0.1)
    before = written(run)
    os.kill(first, signal.SIGKILL)
    assert starter.wait(first) == -signal.SIGKILL
    assert starter.wait(second) == 0
    assert before.items() <= written(run).items(), "what was stored is not computed again"
    assert content(run) == content(folder)
    assert scratch(run) == []


def written(run):
    """Return the shards that a run's manifest lists, and which file each is: writing it again makes another."""
    if not (run / "manifest.json").exists():
        return {}
    keys = [shard["key"] for shard in open_run(run).manifest["shards"]]
    return {key: (shard_file(run, key).stat().st_ino, shard_file(run, key).stat().st_mtime_ns) for key in keys}


@pytest.fixture
def toy(load_family, monkeypatch):
    """A study of two shards that do not share a prompt length, and its model."""
    monkeypatch.setattr(tasks, "_QUESTIONS_PER_SHARD", 1)
    return _toy(load_family, "The capital of Germany is", "The capital of")


def _toy(load_family, *prompts):
    model = load_family("qwen3")
    questions = [{"id": f"q{place}", "prompt": prompt} for place, prompt in enumerate(prompts)]
    study = {"name": "toy", "title": "Toy", "models": [model.info.name], "questions": questions}
    return plan_study(study, "test"), lambda name: model


def test_a_shard_that_was_written_and_not_listed_is_written_again(toy, tmp_path, monkeypatch):
    """The process ended between the two writes. Nothing says that the shard is whole, so it is computed anew."""
    planned, load = toy
    record(planned, tmp_path / "whole", load=load)

    def killed(*_):
        raise SystemExit

    with monkeypatch.context() as patch:
        write = writer.write_manifest
        patch.setattr(writer, "write_manifest", lambda *a: killed() if a[1]["shards"] else write(*a))
        with pytest.raises(SystemExit):
            record(planned, tmp_path / "run", load=load)
    assert len(unlisted(tmp_path / "run")) == 1
    shard_file(tmp_path / "run", unlisted(tmp_path / "run")[0][:24]).write_bytes(b"not even whole")
    run = record(planned, tmp_path / "run", load=load, resume=True)
    assert run.damaged_files() == []
    assert unlisted(run.path) == []
    assert content(run.path) == content(tmp_path / "whole")


def test_a_process_killed_while_it_wrote_the_first_manifest_has_left_an_empty_folder(toy, tmp_path):
    planned, load = toy
    (tmp_path / "run" / ".manifest.json.abcdefgh").mkdir(parents=True)
    (tmp_path / "run" / ".manifest.json.abcdefgh" / "manifest.json").write_text('{"form')
    assert record(planned, tmp_path / "run", load=load).complete
    assert scratch(tmp_path / "run") == []


def test_scratch_of_a_killed_process_is_removed_and_nothing_else_is(toy, tmp_path):
    planned, load = toy
    run = record(planned, tmp_path / "run", load=load)
    shards = run.path / "shards"
    for left in (run.path / ".manifest.json.abcdefgh", shards / f".{'a' * 24}.parquet.abcdefgh"):
        left.mkdir()
        (left / "half").write_text("")
    mine = [run.path / ".notes", shards / ".DS_Store"]
    for file in mine:
        file.write_text("keep me")
    assert record(planned, run.path, load=load, resume=True).complete
    assert sorted(scratch(run.path)) == [".DS_Store", ".notes"]


def test_a_run_that_another_process_writes_is_not_begun_again(toy, tmp_path):
    planned, load = toy

    def at_once():
        raise AssertionError("nobody else holds it")

    (tmp_path / "run").mkdir()
    with held_alone(tmp_path / "run", at_once), pytest.raises(StoreError, match="Another process is writing"):
        record(planned, tmp_path / "run", load=load)
    assert record(planned, tmp_path / "run", load=load).complete


def test_shards_that_a_complete_run_does_not_list_are_removed_and_nothing_else_is(toy, tmp_path):
    planned, load = toy
    run = record(planned, tmp_path / "run", load=load)
    stale, mine = run.path / "shards" / f"{'a' * 24}.parquet", run.path / "shards" / "mine.parquet"
    for file in (stale, mine):
        file.write_bytes(b"")
    assert record(planned, run.path, load=load, resume=True).complete
    assert (stale.exists(), mine.exists()) == (False, True)


def test_a_folder_with_scratch_and_other_files_is_refused(toy, tmp_path):
    planned, load = toy
    (tmp_path / "run" / ".manifest.json.abcdefgh").mkdir(parents=True)
    (tmp_path / "run" / "mine.txt").write_text("keep me")
    with pytest.raises(StoreError, match="not empty"):
        record(planned, tmp_path / "run", load=load)
    assert (tmp_path / "run" / ".manifest.json.abcdefgh").exists()


def test_a_shard_says_the_same_whatever_was_read_before_it(fresh, tmp_path, monkeypatch):
    monkeypatch.setattr(tasks, "_QUESTIONS_PER_SHARD", 1)
    planned, _ = _toy(lambda _: fresh("qwen3"), "The capital of Germany is", "The capital of France is")
    first = record(planned, tmp_path / "run", load=lambda _: fresh("qwen3"))
    before = content(first.path)
    shard_file(first.path, first.manifest["shards"][1]["key"]).unlink()
    again = record(planned, tmp_path / "run", load=lambda _: fresh("qwen3"), resume=True)
    assert content(again.path) == before
