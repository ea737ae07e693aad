"""Question sets: how they are opened, their alternatives, some of them, their sums; and those that are shipped."""

import dataclasses
import itertools
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from layerwise.errors import QuestionError
from layerwise.questions.question import Question, with_alternatives
from layerwise.questions.sets import open_set, shipped_sets

from .rivers import RIVERS, TOML, by_id


def test_a_set_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(QuestionError, match=r"no question set 'rivers'. Shipped sets: arithmetic, capitals.*\.csv or"):
        open_set("rivers", tmp_path)
    with pytest.raises(QuestionError, match=r"rivers\.toml cannot be read: No such file"):
        open_set("rivers.toml", tmp_path)


# Alternatives.


def in_group(**answers: tuple[str, ...]) -> list[Question]:
    return [Question(item, f"Who is {item}?", forms, item=item, group="all") for item, forms in answers.items()]


def alternatives_of(questions: list[Question]) -> dict[str, tuple[str, ...]]:
    return {question.id: question.alternatives for question in with_alternatives(questions)}


def test_alternatives_are_other_items_main_answers_of_the_same_group_and_direction(rivers):
    mains = defaultdict(set)
    for question in rivers.questions:
        mains[question.direction, question.group].add(question.answers[0])
    for question in rivers.questions:
        assert question.alternatives
        made_up = {" the Switzerland", " the Italy"}  # where an answer has an article and no other item's has
        assert set(question.alternatives) - made_up <= mains[question.direction, question.group] - {question.answers[0]}
    assert by_id(rivers)["rivers/amur/river-to-sea/statement"].alternatives == (" East China Sea",)


def test_no_alternative_begins_or_goes_on_an_answer():
    found = alternatives_of(
        in_group(
            niger=(" Niger",), nigeria=(" Nigeria",), chad=(" Chad", " Nig"), mali=(" mali",), mali2=(" Mali Empire",)
        )
    )
    assert set(found["niger"]) == {" mali", " Mali Empire"}
    assert set(found["nigeria"]) == {" mali", " Mali Empire"}
    assert set(found["mali"]) == {" Niger", " Nigeria", " Chad"}


def test_an_item_whose_answer_is_the_same_is_no_alternative():
    found = alternatives_of(in_group(a=(" euro",), b=(" euro",), c=(" franc", " euro"), d=(" yen",)))
    assert found == {"a": (" yen",), "b": (" yen",), "c": (" yen",), "d": found["d"]}
    assert set(found["d"]) == {" euro", " franc"}


def test_all_wordings_of_an_item_have_the_same_alternatives():
    questions = [
        Question("a1", "One", (" big",), item="a", group="all"),
        Question("a2", "Two", (" large",), item="a", group="all"),
        *in_group(b=(" large house",), c=(" bigger",), d=(" small",)),
    ]
    found = alternatives_of(questions)
    assert found["a1"] == found["a2"] == (" small",)


def test_own_alternatives_are_kept_and_without_a_group_there_are_none():
    questions = in_group(a=(" x",), b=(" y",))
    listed = dataclasses.replace(questions[0], alternatives=(" z",))
    alone = dataclasses.replace(questions[1], group="")
    assert alternatives_of([listed, alone]) == {"a": (" z",), "b": ()}


def test_an_article_does_not_decide():
    many = {f"c{n}": (f" Land{n}",) for n in range(9)}
    found = alternatives_of(in_group(bahamas=(" the Bahamas", " Bahamas"), gambia=(" the Gambia", " Gambia"), **many))
    assert " the Gambia" in found["bahamas"]
    assert " the Bahamas" in found["gambia"]
    alone = alternatives_of(in_group(bahamas=(" the Bahamas", " Bahamas"), **many))["bahamas"]
    assert len(alone) == 5
    assert alone[-1] == f" the{alone[0]}"
    assert all(not wrong.startswith(" the ") for n in range(9) for wrong in alternatives_of(in_group(**many))[f"c{n}"])


def test_alternatives_do_not_depend_on_the_order_of_the_file():
    questions = list(open_set("capitals").questions)
    bare = [dataclasses.replace(question, alternatives=()) for question in questions]
    expected = {question.id: question.alternatives for question in questions}
    for seed in range(3):
        random.Random(seed).shuffle(bare)
        assert alternatives_of(bare) == expected


def test_each_answer_is_the_first_alternative_about_as_often_as_any_other():
    questions = open_set("capitals").questions
    answers = {q.answers[0] for q in questions if q.wording == "statement" and q.direction == "country-to-capital"}
    first = Counter(q.alternatives[0] for q in questions if q.answers[0] in answers and q.wording == "statement")
    assert max(first.values()) <= 2
    assert len(first) > 0.95 * len(answers)


# Some of a set.


def test_more_items_include_fewer():
    found = open_set("capitals")
    for direction in ((), ("country-to-capital",)):
        sizes = [{q.item for q in found.some(items=n, directions=direction)} for n in (1, 10, 50, 168, 500)]
        assert [len(items) for items in sizes] == [1, 10, 50, 168, 168]
        assert all(fewer <= more for fewer, more in itertools.pairwise(sizes))


def test_which_items_are_chosen_does_not_depend_on_the_file_or_the_direction():
    found = open_set("capitals")
    turned = dataclasses.replace(found, questions=found.questions[::-1])
    chosen = {question.item for question in found.some(items=20)}
    assert {question.item for question in turned.some(items=20)} == chosen
    assert {question.item for question in found.some(items=20, directions=["capital-to-country"])} == chosen
    assert sum(item < "m" for item in chosen) < 20, "not simply the first ones"


def test_directions_and_wordings_are_chosen_by_name(rivers):
    assert rivers.some() == rivers.questions
    some = rivers.some(directions=iter(["river-to-sea"]), wordings=iter(["question"]))
    assert [question.id for question in some] == [f"rivers/{item}/river-to-sea/question" for item in rivers.items]


def test_directions_and_wordings_that_are_not_there_are_refused(rivers, opened):
    with pytest.raises(QuestionError, match=r"rivers has no direction 'x'; it has river-to-sea, river-to-source"):
        rivers.some(directions=["x"])
    with pytest.raises(QuestionError, match=r"rivers has no wording 'x'; it has statement, question"):
        rivers.some(wordings=["statement", "x"])
    with pytest.raises(QuestionError, match=r"wordings question in other directions than river-to-source only"):
        rivers.some(directions=["river-to-source"], wordings=["question"])
    with pytest.raises(QuestionError, match=r"mine has no direction 'x'; it has none by name"):
        opened(mine_csv="prompt,answer\nOne,a\n").some(directions=["x"])


# Sums.


def test_the_sum_changes_if_and_only_if_a_question_does(opened, rivers):
    assert opened(rivers_toml=TOML, rivers_csv="\ufeff" + RIVERS.replace("\n", "\r\n")).sum == rivers.sum
    assert opened(rivers_toml=TOML.replace("An atlas", "Two atlases"), rivers_csv=RIVERS).sum == rivers.sum
    assert opened(rivers_toml=TOML, rivers_csv=RIVERS.replace("group", "group,note").replace("pe\n", "pe,x\n").replace(
        "asia\n", "asia,y\n"
    )).sum == rivers.sum  # fmt: skip
    for old, new in (("Adriatic", "Adriatic Sea"), ("|Baltic", ""), ("po,Po", "padus,Po"), ("Russia,asia", "Russia,x")):
        assert opened(rivers_toml=TOML, rivers_csv=RIVERS.replace(old, new)).sum != rivers.sum
    assert opened(rivers_toml=TOML.replace("rises in", "springs in"), rivers_csv=RIVERS).sum != rivers.sum


# What comes with layerwise.


def test_the_shipped_sets_are_these():
    assert shipped_sets() == [
        "arithmetic",
        "capitals",
        "continents",
        "currencies",
        "events",
        "fictional",
        "languages",
        "logic",
        "opposites",
        "persons",
        "plurals",
        "sequences",
        "symbols",
        "translations",
    ]


@pytest.mark.parametrize("name", shipped_sets())
def test_a_shipped_set_is_whole(name):
    found = open_set(name)
    assert found.name == name
    assert found.title and found.description and found.source
    assert len({question.id for question in found.questions}) == len(found.questions)
    assert len({question.prompt for question in found.questions}) == len(found.questions)
    wordings = defaultdict(set)
    for question in found.questions:
        wordings[question.direction].add(question.wording)
        assert question.set == name
        assert question.item and question.direction and question.wording and question.group
        assert question.alternatives
        assert len(set(question.alternatives)) == len(question.alternatives)
        assert not set(question.alternatives) & set(question.answers)
        assert all(
            text.startswith(" ") and text[1:] == text.strip() for text in question.answers + question.alternatives
        )
        assert question.prompt == question.prompt.strip()
    assert min(len(names) for names in wordings.values()) >= 3


@pytest.mark.parametrize("name", shipped_sets())
def test_a_shipped_set_opens_the_same_from_anywhere(name, tmp_path):
    assert open_set(name, tmp_path).sum == open_set(name).sum


def test_no_file_of_the_data_is_left_over():
    folder = Path(open_set.__code__.co_filename).parent / "data"
    names = {file.name for file in folder.iterdir()}
    assert names == {f"{name}.{kind}" for name in shipped_sets() if name != "arithmetic" for kind in ("toml", "csv")}
