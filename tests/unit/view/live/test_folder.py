"""Runs are opened by name inside the folder, and nothing else is."""

import shutil

import pytest

from layerwise.errors import StoreError
from layerwise.execution.recording import record
from layerwise.studies.study import plan_study
from layerwise.view.live.folder import RunFolder
from layerwise.view.live.session import Session

STUDY = {
    "name": "small",
    "title": "A small study",
    "description": "Of one question.",
    "questions": [{"id": "own", "prompt": "The capital of Germany is", "answers": [" Berlin"]}],
}


@pytest.fixture(scope="module")
def recorded(load_family, tmp_path_factory):
    model = load_family("qwen3")
    folder = tmp_path_factory.mktemp("recorded")
    planned = plan_study(STUDY | {"models": [model.info.name]}, "test", folder)
    return record(planned, folder / "run", load=lambda name: model).path


@pytest.fixture
def runs(recorded, tmp_path):
    """A folder with a run called "first", and another beside that folder."""
    shutil.copytree(recorded, tmp_path / "runs" / "first")
    shutil.copytree(recorded, tmp_path / "outside")
    return tmp_path / "runs"


def test_runs_are_listed_with_their_study(runs):
    (runs / "empty").mkdir()
    (runs / "broken").mkdir()
    (runs / "broken" / "manifest.json").write_text("{")
    broken, first = RunFolder(runs).listing()
    assert (first["name"], first["study"]) == ("first", "small")
    assert broken["name"] == "broken"
    assert "manifest" in broken["error"]


def test_a_run_is_opened_by_its_name(runs):
    assert RunFolder(runs).open("first").name == "small"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../outside", "first/../../outside", "first/", "./first", "second", "first\0", "~", "*"]
)
def test_no_name_leads_out_of_the_folder(runs, name):
    with pytest.raises(StoreError, match="no run of this name"):
        RunFolder(runs).open(name)


def test_an_absolute_path_is_no_name(runs):
    for path in (runs / "first", runs.parent / "outside"):
        with pytest.raises(StoreError, match="no run of this name"):
            RunFolder(runs).open(str(path))


@pytest.mark.parametrize("linked", [".", "manifest.json", "shards", "shards/*"])
def test_a_link_that_leads_out_is_not_followed(runs, linked):
    ours, theirs = runs / "first", runs.parent / "outside"
    [target] = theirs.glob(linked) if linked != "." else [theirs]
    place = ours / target.relative_to(theirs)
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(target)
    with pytest.raises(StoreError, match="leads out"):
        RunFolder(runs).open("first")
    [listed] = RunFolder(runs).listing()
    assert "leads out" in listed["error"]


def test_a_link_inside_the_folder_is_a_run_too(runs):
    (runs / "same").symlink_to(runs / "first")
    assert RunFolder(runs).open("same").name == "small"


def test_a_folder_may_itself_be_a_link(runs, tmp_path):
    (tmp_path / "link").symlink_to(runs)
    assert RunFolder(tmp_path / "link").open("first").name == "small"


def test_a_run_is_opened_through_the_server(runs, serving, connect):
    client = connect(serving(Session(folder=RunFolder(runs))))
    choices = client.get("/api/choices").json()
    assert choices["models"] == []
    assert [run["name"] for run in choices["runs"]] == ["first"]
    *_, last = client.post("/api/open", json={"run": "first"}).text.splitlines()
    assert '"study"' in last
    assert "small" in last
    for name in ("../outside", str(runs.parent / "outside")):
        assert "no run of this name" in client.post("/api/open", json={"run": name}).text


def test_without_a_folder_no_run_is_opened(client):
    assert client.get("/api/choices").json()["runs"] is None
    assert "--folder" in client.post("/api/open", json={"run": "first"}).text
