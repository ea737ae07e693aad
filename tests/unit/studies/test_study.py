"""A study file is checked before anything runs."""

import re
from pathlib import Path

import pytest

from layerwise.errors import StudyError
from layerwise.studies.study import is_study, read_study

GOOD = """
name = "small"
title = "A small study"
models = ["gemma-3-270m"]
lenses = ["logit", "raw"]
temperatures = [0.5, 2]

[[questions]]
id = "q1"
prompt = "The capital of Germany is"
answers = [" Berlin"]
"""


@pytest.fixture
def study_file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_good_study_reads(study_file):
    planned = read_study(study_file(GOOD))
    assert planned.study.models == ["gemma-3-270m"]
    assert planned.study.temperatures == [0.5, 2.0]
    request = planned.request(planned.questions[0])
    assert (request.prompt, request.answers, request.temperatures) == (
        "The capital of Germany is",
        (" Berlin",),
        (0.5, 2.0),
    )


def test_the_committed_experiment_reads():
    root = Path(__file__).parents[3]
    study = read_study(root / "experiments" / "001_layers_and_logits" / "study.toml")
    assert study.questions[0].prompt == "Question: What is the capital of Germany? Answer:"
    assert len([q for q in study.questions if q.role == "probe"]) == 3


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ('["qwen3-8b", "Qwen/Qwen3-8B"]', "qwen3-8b and Qwen/Qwen3-8B"),
        ('["gemma-3-270m", "Gemma-3-270M"]', "gemma-3-270m and Gemma-3-270M"),
        ('["random:.", "random:gemma-3-270m", "gemma-3-270m", ".", "./", "a"]', ". and ./"),
    ],
)
def test_one_model_under_two_names_is_refused(study_file, models, expected):
    with pytest.raises(StudyError, match=f"models: {re.escape(expected)} are the same model"):
        read_study(study_file(GOOD.replace('["gemma-3-270m"]', models)))


def test_two_sets_that_call_themselves_the_same_are_refused(study_file):
    """Their ids differ here, so nothing else would tell."""
    path = study_file(GOOD + '\n[[sets]]\nname = "mine.csv"\n[[sets]]\nname = "other.toml"\n')
    (path.parent / "mine.csv").write_text("prompt,answer\nThe capital of France is,Paris\n")
    (path.parent / "items.csv").write_text("item,a,b\nx,Foo,Bar\n")
    (path.parent / "other.toml").write_text(
        'name = "mine"\nversion = 1\ntitle = "t"\nsource = "s"\nitems = "items.csv"\n'
        '[directions.d]\nanswer = "b"\n[directions.d.wordings]\nw = "The thing {a} is"\n'
    )
    with pytest.raises(StudyError, match=r"the sets mine\.csv and other\.toml are both called 'mine'"):
        read_study(path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('title = "A small study"', ""), "title: is missing"),
        (('id = "q1"', 'id = "q1"\nanwsers = [" Berlin"]'), "questions[0].anwsers: is no key of a study"),
        (('models = ["gemma-3-270m"]', "models = 3"), "models: input should be a valid list; found 3 (int)"),
        (('models = ["gemma-3-270m"]', "models = []"), "models: "),
        (('"logit", "raw"', '"logit", "crystal"'), "lenses[1]: Unknown lens 'crystal'; expected one of logit, raw, or"),
        (('"logit", "raw"', '"logit", "tuned"'), "lenses: There is no tuned lens of gemma-3-270m on this machine."),
        (("temperatures = [0.5, 2]", "temperatures = [0]"), "temperatures[0]: "),
        (("temperatures = [0.5, 2]", 'temperatures = ["warm"]'), "temperatures[0]: "),
        (('id = "q1"', 'id = "../q1"'), "questions[0].id: "),
        (('prompt = "The capital of Germany is"', 'prompt = ""'), "questions[0].prompt: "),
        (('models = ["gemma-3-270m"]', 'models = ["a", "a"]'), "models: a stands there more than once"),
    ],
)
def test_a_wrong_key_is_named_with_its_path_and_what_was_expected(study_file, change, expected, monkeypatch, tmp_path):
    monkeypatch.setenv("LAYERWISE_CACHE", str(tmp_path / "cache"))  # where no lens was fitted
    with pytest.raises(StudyError) as raised:
        read_study(study_file(GOOD.replace(*change)))
    assert expected in str(raised.value)
    assert "Nothing was run" in str(raised.value)


def test_two_questions_of_one_id_are_refused(study_file):
    again = GOOD[GOOD.index("[[questions]]") :]
    with pytest.raises(StudyError, match="q1 stands there more than once"):
        read_study(study_file(GOOD + again))


def test_what_is_no_toml_is_refused(study_file, tmp_path):
    with pytest.raises(StudyError, match="is not TOML"):
        read_study(study_file("name = [unclosed"))
    (tmp_path / "latin.toml").write_bytes('title = "Café"'.encode("latin-1"))
    with pytest.raises(StudyError, match="UTF-8"):
        read_study(tmp_path / "latin.toml")
    with pytest.raises(StudyError, match="cannot be read"):
        read_study(tmp_path / "absent.toml")


def test_the_sum_changes_with_any_question(study_file):
    first = read_study(study_file(GOOD)).sum
    assert read_study(study_file(GOOD)).sum == first
    assert read_study(study_file(GOOD.replace("Germany", "France"))).sum != first


def test_an_own_answer_without_its_space_is_hinted_at_and_asked_as_it_is(study_file):
    planned = read_study(study_file(GOOD.replace('" Berlin"', '"Berlin"')))
    assert planned.questions[0].answers == ("Berlin",)
    [hint] = planned.hints
    assert "begin it with a space" in hint
    assert hint.endswith("  q1: The capital of Germany isBerlin")
    assert read_study(study_file(GOOD)).hints == []


def test_what_nobody_sees_in_a_studys_questions_is_told_before_it_runs(tmp_path):
    (tmp_path / "mine.csv").write_text("prompt,answer\nThe capital of Italy is\u00a0,Rome\n", encoding="utf-8")
    study = 'name = "s"\ntitle = "S"\nmodels = ["m"]\n[[sets]]\nname = "mine.csv"\n'
    (tmp_path / "study.toml").write_text(study, encoding="utf-8")
    [hint] = read_study(tmp_path / "study.toml").hints
    assert "mine/row-2: the prompt ends in U+00A0 (no-break space)" in hint


def test_a_study_is_told_from_a_question_set_by_its_models(study_file, tmp_path):
    assert is_study(study_file(GOOD))
    assert not is_study(study_file('name = "rivers"\nitems = "rivers.csv"\n'))
    assert not is_study(study_file("name = [unclosed"))
    assert not is_study(tmp_path / "absent.toml")
    assert not is_study(Path("capitals"))
