"""A file of claims is checked before anything runs."""

import json

import pytest

from layerwise.errors import QuestionError, StudyError
from layerwise.studies.claim_files import read_claims
from layerwise.studies.study import plan_study, read_study

GOOD = """
[[claims]]
id = "depth"
sentence = "The answer settles at 80 to 85 % of depth."
estimator = "settled_depth"
region = "0.80 .. 0.85"
widened_by_layers = 1
null = "Answers settle anywhere."

[[claims]]
id = "directions"
sentence = "Country to capital is surer."
estimator = "direction_difference"
region = "> 0"
directions = ["country-to-capital", "capital-to-country"]
sets = ["capitals"]
over = "all"
least_items = 5
null = "No difference."
"""


@pytest.fixture
def claims_file(tmp_path):
    def write(text):
        path = tmp_path / "claims.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_good_file_reads(claims_file):
    depth, directions = read_claims(claims_file(GOOD))
    assert (depth.id, depth.over, depth.least_items, depth.sets, depth.widened_by_layers) == (
        "depth",
        "known",
        10,
        [],
        1,
    )
    assert (directions.over, directions.least_items, directions.sets) == ("all", 5, ["capitals"])
    assert directions.directions == ["country-to-capital", "capital-to-country"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('null = "Answers settle anywhere."', ""), "claims[0].null: is missing"),
        (('region = "> 0"', ""), "claims[1].region: is missing"),
        (('"settled_depth"', '"settled"'), "claims[0].estimator: "),
        (("widened_by_layers = 1", "widened_by_layers = -1"), "claims[0].widened_by_layers: "),
        (("widened_by_layers = 1", "widend_by_layers = 1"), "claims[0].widend_by_layers: is no key"),
        (("least_items = 5", "least_items = 1"), "claims[1].least_items: "),
        (('over = "all"', 'over = "some"'), "claims[1].over: "),
        (('id = "directions"', 'id = "depth"'), "two claims are called 'depth'"),
        (('id = "depth"', 'id = "a b"'), "claims[0].id: "),
        (('directions = ["country-to-capital", "capital-to-country"]', ""), "compares two directions; it names 0"),
        (('"country-to-capital", ', ""), "compares two directions; it names 1"),
        ((GOOD, "claims = []"), "claims: "),
        ((GOOD, "name = 'x'"), "claims: is missing"),
        (("[[claims]]", "[[claims"), "TOML"),
    ],
)
def test_what_cannot_be_judged_later_is_refused_before(claims_file, change, expected):
    assert change[0] in GOOD
    path = claims_file(GOOD.replace(change[0], change[1], 1))
    with pytest.raises(StudyError) as caught:
        read_claims(path)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("region", "expected"), [("80 % .. 85 %", "such as '> 0.5'"), ("0.85 .. 0.80", "no estimate can lie")]
)
def test_a_region_that_is_none_is_refused(claims_file, region, expected):
    with pytest.raises(StudyError, match=expected):
        read_claims(claims_file(GOOD.replace("0.80 .. 0.85", region)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StudyError, match=r"gone\.toml"):
        read_claims(tmp_path / "gone.toml")


def study(**changes):
    plain = {"name": "s", "title": "S", "models": ["m"], "sets": [{"name": "capitals", "items": 1}]}
    return plain | changes


def test_a_study_holds_its_claims_and_its_sum_changes_with_them(claims_file, tmp_path):
    claims_file(GOOD)
    first = plan_study(study(claims="claims.toml"), "test", tmp_path)
    assert [claim.id for claim in first.claims] == ["depth", "directions"]
    claims_file(GOOD.replace("0.85", "0.90"))
    assert plan_study(study(claims="claims.toml"), "test", tmp_path).sum != first.sum
    assert plan_study(study(), "test", tmp_path).claims == ()


def test_claims_are_looked_for_beside_the_study(claims_file, tmp_path):
    claims_file(GOOD)
    path = tmp_path / "study.toml"
    path.write_text(
        'name = "s"\ntitle = "S"\nmodels = ["m"]\nclaims = "claims.toml"\n[[sets]]\nname = "capitals"\nitems = 1\n'
    )
    assert len(read_study(path).claims) == 2


def test_a_study_names_a_set_that_is_not_there(tmp_path):
    with pytest.raises(QuestionError, match="no question set 'capital'"):
        plan_study(study(sets=[{"name": "capital"}]), "test", tmp_path)


def test_a_region_that_is_none_names_the_file_and_the_claim(tmp_path):
    file = tmp_path / "claims.toml"
    text = '[[claims]]\nid = "a"\nsentence = "It is so."\nestimator = "phases"\nnull = "It is not."\nregion = "much"\n'
    file.write_text(text)
    with pytest.raises(StudyError, match=r"claims\.toml(.|\n)*claims\[0\]\.region: .*'much'"):
        read_claims(file)


def test_a_claim_about_questions_that_are_not_asked_stops_before_the_run(tmp_path):
    (tmp_path / "mine.csv").write_text("item,prompt,answer,direction\na,The sky is,blue,forth\n")
    claim = {"id": "a", "sentence": "S.", "estimator": "phases", "null": "N.", "region": "> 0", "sets": ["yours"]}
    text = "\n".join(f"{key} = {json.dumps(value)}" for key, value in claim.items())
    (tmp_path / "claims.toml").write_text("[[claims]]\n" + text + "\n")
    study = {"name": "s", "title": "S", "models": ["m"], "sets": [{"name": "mine.csv"}], "claims": "claims.toml"}
    with pytest.raises(StudyError, match=r"claim a is about the set 'yours'.* it asks mine"):
        plan_study(study, "test", tmp_path)
