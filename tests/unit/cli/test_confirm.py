"""`layerwise confirm`: over a set, of a run, of one prompt beside another one."""

import pytest

from layerwise.causal import confirm as confirming
from layerwise.causal.pairs import Asked
from layerwise.tracing.request import Request


@pytest.fixture
def all_known(monkeypatch):
    """A model of random weights knows nothing; what the command does with what is known does not depend on that."""

    def ask(model, questions, limit, *, lenses, progress):
        some = list(questions)[:8]
        traces = model.trace_all([Request.about(each) for each in some], lenses=lenses)
        return Asked(len(questions), dict(zip(some, traces, strict=True)))

    monkeypatch.setattr(confirming, "ask", ask)


def test_a_set_becomes_a_table_and_a_report(layerwise, family_folder, tmp_path, all_known):
    code, out, err = layerwise(
        *("confirm", "capitals", "--model", str(family_folder("qwen3")), "--limit", "2", "--quiet", "--lens", "logit"),
        *("--question-direction", "country-to-capital", "--out", str(tmp_path / "out"), "--title", "Mine"),
    )
    assert code == 0, err
    assert "2 beside another one; first_top1" in out
    assert "cannot be judged" in " ".join(out.split()), "of two items"
    report = (tmp_path / "out" / "report.md").read_text()
    assert report.startswith("# Mine")
    assert "capitals country-to-capital" in report


def test_a_run_is_confirmed_with_its_own_models_lenses_and_questions(layerwise, family_folder, tmp_path, all_known):
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "s"\ntitle = "A study"\n'
        f'models = ["{family_folder("qwen3")}"]\nlenses = ["raw"]\n'
        '[[sets]]\nname = "capitals"\nitems = 3\ndirections = ["country-to-capital"]\nwordings = ["statement"]\n'
    )
    code, _, err = layerwise("run", str(study), "--out", str(tmp_path / "run"), "--quiet")
    assert code == 0, err
    code, out, err = layerwise("confirm", str(tmp_path / "run"), "--quiet", "--limit", "2")
    assert code == 0, err
    assert "raw" in out
    assert "3 asked" in out
    code, _, err = layerwise("confirm", str(tmp_path / "run"), "--quiet", "--wording", "people")
    assert code == 1
    assert "asks no such question of a set" in " ".join(err.split())


def test_a_prompt_beside_another_one(layerwise, family_folder, all_known):
    code, out, err = layerwise(
        *("confirm", "One two three", "One two four", "--answer", " a", "--against", " the", "--quiet"),
        *("--model", str(family_folder("qwen3"))),
    )
    assert code == 0, err
    assert "1 beside another one" in out
    assert "Of one question nothing can be said in general" in " ".join(err.split())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("capitals", "--answer", " a"), "give the other prompt after it"),
        (("One two", "One three"), "needs the answers to both"),
        (("no such set",), "no such set"),
        (("capitals", "--milestone", "copy"), "Expected a milestone"),
        (("capitals", "--question-direction", "north"), "has no direction 'north'"),
    ],
)
def test_what_cannot_be_confirmed_is_one_message(layerwise, family_folder, given, said):
    code, out, err = layerwise("confirm", *given, "--quiet", "--model", str(family_folder("qwen3")))
    assert code == 1
    assert said in " ".join(err.split())
    assert not out
