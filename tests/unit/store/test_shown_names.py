"""What is shown to others says which models were run, and not whose disk they are on."""

import pytest

from layerwise.execution.recording import record
from layerwise.report.markdown import write_report
from layerwise.store.shown_names import _without_place, shown_names, shown_run
from layerwise.studies.study import plan_study
from layerwise.text import without_paths
from layerwise.types import shown_name
from layerwise.view.document import document_json, view_document
from layerwise.view.study.study_part import study_of


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("gemma-3-270m", "gemma-3-270m"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B"),
        ("/home/bob/models/mine", "mine"),
        ("/home/bob/models/mine/", "mine"),
        ("~/mine", "mine"),
        ("./mine", "mine"),
        ("models/mine.gguf", "mine.gguf"),
        ("random:/home/bob/mine", "random:mine"),
        ("random:gemma-3-270m", "random:gemma-3-270m"),
        (r"C:\Users\bob\mine", "mine"),
    ],
)
def test_of_a_path_the_last_part_is_shown(name, shown):
    assert shown_name(name) == shown


def test_models_of_one_name_are_told_apart():
    assert shown_names(["/home/bob/a/q4.gguf", "/home/bob/b/q4.gguf", "q4.gguf"]) == {
        "/home/bob/a/q4.gguf": "a/q4.gguf",
        "/home/bob/b/q4.gguf": "b/q4.gguf",
        "q4.gguf": "q4.gguf",
    }


def test_messages_lose_the_folders_of_paths_and_keep_addresses():
    said = (
        "There is no file '/home/bob/models/mine'; it is read from /home/bob. See https://huggingface.co/a/b, and/or c."
    )
    assert without_paths(said) == (
        "There is no file 'mine'; it is read from ~. See https://huggingface.co/a/b, and/or c."
    )


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("/home/Bob Doe/it's (mine), x/m", "/home/Bob Doe/it's (mine), x/m"),
        ("random:/home/Bob Doe/m", "/home/Bob Doe/m"),
        ("../Bob Doe/m", "/home/x y/Bob Doe/m"),
        ("Bob Doe's/x/m", "Bob Doe's/x/m"),
        ("~/Bob Doe/m", "/home/x y/Bob Doe/m"),
        (r"C:\Users\Bob Doe\m", r"C:\Users\Bob Doe\m"),
    ],
)
def test_why_a_model_failed_loses_its_folders_whatever_characters_they_have(name, place):
    said = f"CorruptFileError: {place}/model.safetensors is cut short. {place} has no more and/or less."
    assert _without_place(said, name) == (
        "CorruptFileError: m/model.safetensors is cut short. m has no more and/or less."
    )


@pytest.fixture
def run(load_family, tmp_path):
    """A run of models that are on this machine, one of which is gone."""
    models = {load_family(name).info.name: load_family(name) for name in ("qwen3", "gemma2")}
    (tmp_path / "mine.csv").write_text(
        "item,prompt,answer,group\na,The capital of Germany is,Berlin,c\nb,The capital of France is,Paris,c\n"
    )
    study = {"name": "toy", "title": "Toy", "models": list(models), "sets": [{"name": "mine.csv"}]}
    own = [{"id": "own", "prompt": "The capital of Germany is", "answers": [" Berlin"]}]
    return record(plan_study(study | {"questions": own}, "t", tmp_path), tmp_path / "run", load=models.__getitem__)


def test_no_page_tells_where_a_model_is(run, load_family, tmp_path):
    models = list(run.models)
    assert all(name.startswith("/") for name in models), "the run itself says where they are"
    write_report(run, tmp_path / "report")
    pages = [
        file.read_bytes().decode("utf-8", "replace") for file in (tmp_path / "report").rglob("*") if file.is_file()
    ]
    pages.append(document_json(view_document([], study=study_of(run))))
    pages.append(document_json(view_document([load_family("qwen3").trace("The capital of Germany is")])))
    for name in models:
        folder, own = name.rsplit("/", 1)
        assert not [page for page in pages if folder in page]
        assert any(own in page for page in pages)


def test_numbers_are_found_under_the_names_shown(run):
    shown = shown_run(run)
    assert set(shown.questions()["model"]) == set(shown.models) == set(shown.study["models"])
    assert shown_run(shown) is shown
    same = [name for name in run.table().column_names if name not in ("model", "location")]
    assert shown.table(same).equals(run.table(same))
