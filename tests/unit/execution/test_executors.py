"""Wherever tasks are computed and in whatever order they come back, the stored run is the same."""

import pickle
import weakref

import pytest

from layerwise.execution import tasks
from layerwise.execution.executors import InProcess
from layerwise.execution.recording import carry_out
from layerwise.execution.tasks import TaskFailure, TaskResult, tasks_of
from layerwise.models.sources.spec import ModelSpec
from layerwise.store.run import open_run, shard_file
from layerwise.studies.study import plan_study
from tests.elsewhere import Elsewhere

QUESTIONS = [
    {"id": "a", "prompt": "The capital of Germany is", "answers": [" Berlin"], "alternatives": [" Paris"]},
    {"id": "b", "prompt": "The capital of"},
    {"id": "c", "prompt": "Water is", "answers": [" wet"]},
]


@pytest.fixture
def planned(family_folder, monkeypatch):
    """Two models, and three tasks for each."""
    monkeypatch.setattr(tasks, "_QUESTIONS_PER_SHARD", 1)
    names = [str(family_folder(family)) for family in ("qwen3", "gemma2")]
    study = {"name": "toy", "title": "Toy", "models": names, "lenses": ["logit", "raw"], "questions": QUESTIONS}
    return plan_study(study, "test")


@pytest.fixture(scope="module")
def elsewhere():
    """An executor in another process, which all tests share."""
    with Elsewhere() as executor:
        yield executor


def specs(planned):
    return [ModelSpec(name) for name in planned.study.models]


def content(run):
    """Return all that a run's manifest says but for when it was written."""
    return {name: value for name, value in run.manifest.items() if name not in ("created", "updated")}


def test_a_run_computed_in_another_process_is_the_same_run(planned, tmp_path, elsewhere):
    here = carry_out(planned, tmp_path / "here", InProcess())
    there = carry_out(planned, tmp_path / "there", elsewhere)
    assert there.complete
    assert content(here) == content(there), "the sums of the shards' bytes, and their order, among it"
    assert there.damaged_files() == []


def test_another_executor_completes_what_one_has_begun(planned, tmp_path, elsewhere):
    whole = carry_out(planned, tmp_path / "run", InProcess())
    lost = whole.manifest["shards"][3]
    shard_file(whole.path, lost["key"]).unlink()
    kept = {shard["key"] for shard in whole.manifest["shards"]} - {lost["key"]}
    before = {key: shard_file(whole.path, key).stat().st_mtime_ns for key in kept}
    again = carry_out(planned, whole.path, elsewhere, resume=True)
    assert content(again) == content(whole)
    assert {key: shard_file(whole.path, key).stat().st_mtime_ns for key in kept} == before


def test_a_model_that_cannot_be_loaded_is_a_failure_of_its_tasks_alone(planned, tmp_path, elsewhere):
    gone = str(tmp_path / "gone")
    there = planned.study.models[0]
    planned = plan_study(planned.study.model_dump() | {"models": [gone, there]}, "test")
    for name, executor in {"here": InProcess(), "elsewhere": elsewhere}.items():
        run = carry_out(planned, tmp_path / name, executor)
        assert not run.complete
        assert list(run.failures) == [gone]
        assert {shard["model"] for shard in run.manifest["shards"]} == {there}
        assert list(run.models) == [there]


def test_every_task_has_one_outcome_whatever_fails(planned, tmp_path):
    asked = tasks_of(planned, [ModelSpec(str(tmp_path / "gone")), *specs(planned)])
    found = list(InProcess().run(asked, frozenset(), lambda what: None))
    assert [outcome.number for outcome in found] == list(range(9))
    assert [type(outcome) for outcome in found] == [TaskFailure] * 3 + [TaskResult] * 6


def test_tasks_after_one_that_fails_fail_for_its_reason(planned, load_family):
    """What is wrong with a model would be found again; what was read before is kept."""
    unfit = {"id": "x", "prompt": "Water is", "track": [" no single token"]}
    study = planned.study.model_dump() | {"questions": [QUESTIONS[0], unfit, QUESTIONS[1]]}
    model, asked = load_family("qwen3"), tasks_of(plan_study(study, "test"), specs(planned)[:1])
    found = list(InProcess(lambda spec: model).run(asked, frozenset(), lambda what: None))
    assert isinstance(found[0], TaskResult)
    failures = [each for each in found if isinstance(each, TaskFailure)]
    assert [(each.number, each.model) for each in failures] == [(1, model.info), (2, model.info)]
    assert len({each.reason for each in failures}) == 1
    assert "Question 'x'" in failures[0].reason


def test_tasks_and_outcomes_survive_being_sent(planned):
    asked = tasks_of(planned, specs(planned)[:1])
    assert pickle.loads(pickle.dumps(asked)) == asked
    [found] = InProcess().run(asked[:1], frozenset(), lambda what: None)
    assert isinstance(found, TaskResult)
    back = pickle.loads(pickle.dumps(found))
    assert [shard.table for shard in back.shards] == [shard.table for shard in found.shards]
    assert back.keys == found.keys == tuple(shard.key for shard in found.shards)


def test_shards_that_are_stored_are_not_computed(planned, load_family, monkeypatch):
    asked = tasks_of(planned, specs(planned)[:1])
    [first, *_] = InProcess().run(asked, frozenset(), lambda what: None)
    assert isinstance(first, TaskResult)
    [again] = InProcess().run(asked[:1], {first.keys[0]}, lambda what: None)
    assert isinstance(again, TaskResult)
    assert [shard.key for shard in again.shards] == [first.keys[1]]
    assert again.keys == first.keys


def test_models_are_loaded_as_they_are_asked_for(planned, load_family, tmp_path):
    asked = []
    models = [ModelSpec(name, dtype="float32", memory="4GB") for name in planned.study.models]
    loaded = dict(zip(planned.study.models, map(load_family, ("qwen3", "gemma2")), strict=True))

    def load(spec):
        asked.append(spec)
        return loaded[spec.name]

    carry_out(planned, tmp_path / "run", InProcess(load), models=models)
    assert asked == models
    assert open_run(tmp_path / "run").complete


def test_a_model_is_let_go_of_before_the_next_is_loaded(planned, fresh):
    before = []

    def load(spec):
        assert [model for model in before if model() is not None] == []
        model = fresh()
        before.append(weakref.ref(model.hf))
        return model

    for _ in InProcess(load).run(tasks_of(planned, specs(planned)), frozenset(), lambda what: None):
        pass
    assert len(before) == 2
