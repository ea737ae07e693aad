"""Sets of a TOML file with templates, and its table."""

import json

import pytest

from layerwise.questions.question import Question
from layerwise.questions.sets import open_set

from .rivers import RIVERS, TOML, by_id


def test_a_template_and_a_row_make_a_question(rivers):
    assert by_id(rivers)["rivers/elbe/river-to-source/statement"] == Question(
        id="rivers/elbe/river-to-source/statement",
        prompt="The Elbe rises in",
        answers=(" Czechia", " the Czech Republic"),
        alternatives=by_id(rivers)["rivers/elbe/river-to-source/statement"].alternatives,
        set="rivers",
        item="elbe",
        direction="river-to-source",
        wording="statement",
        group="europe",
    )


def test_every_item_is_asked_in_every_direction_and_wording(rivers):
    assert (rivers.name, rivers.version, rivers.title, rivers.source) == ("rivers", 2, "Rivers", "An atlas.")
    assert rivers.items == ("elbe", "rhine", "oder", "rhone", "po", "amur", "yangtze")
    assert rivers.directions == ("river-to-sea", "river-to-source")
    assert rivers.wordings == ("statement", "question")
    assert len(by_id(rivers)) == len(rivers.questions) == 7 * 3


def test_a_prompt_has_the_first_form_and_an_answer_all(rivers):
    assert all("Labe" not in question.prompt for question in rivers.questions)
    assert by_id(rivers)["rivers/rhine/river-to-sea/statement"].answers == (" North Sea", " German Ocean")


def test_without_a_group_all_items_are_one(opened):
    table = "item,river,sea,source\na,Elbe,X,U\nb,Rhine,Y,V\n"
    assert {question.group for question in opened(rivers_toml=TOML, rivers_csv=table).questions} == {"rivers"}


def test_a_table_may_be_jsonl_in_a_folder_below(write, tmp_path):
    (tmp_path / "tables").mkdir()
    row = {"item": "elbe", "river": ["Elbe", "Labe"], "sea": "North Sea", "source": "Czechia"}
    (tmp_path / "tables" / "rivers.jsonl").write_text(json.dumps(row), encoding="utf-8")
    name = write(rivers_toml=TOML.replace("rivers.csv", "tables/rivers.jsonl"))
    assert open_set(name, tmp_path).questions[0].prompt == "The Elbe flows into the"


@pytest.mark.parametrize(
    "template",
    [
        "The {} flows into the",
        "The {0} flows into the",
        "The {river.__class__} flows into the",
        "The {river[0]} flows into the",
        "The {river!r} flows into the",
        "The {river:>1000000000} flows into the",
        "The {river:{sea}} flows into the",
        "The {river flows into the",
        "The river} flows into the",
        "The {{river}} flows into the",
        "The river flows into the",
        "The {river name} flows into the",
    ],
)
def test_a_template_with_anything_but_names_in_its_braces_is_refused(refused, template):
    message = refused(rivers_toml=TOML.replace("The {river} flows into the", template), rivers_csv=RIVERS)
    assert message.startswith("rivers.toml: the wording 'The ")
    assert "should name columns of the table in braces, as in 'The capital of {country} is', and nothing" in message


def test_columns_that_are_not_there_are_named_once_with_those_that_may_have_been_meant(refused):
    toml = TOML.replace("The {river} rises", "The {rivre} rises").replace('answer = "source"', 'answer = "estuary"')
    assert refused(rivers_toml=toml, rivers_csv=RIVERS).replace("\n", " ") == (
        "rivers.csv, line 1: has no 'estuary', 'rivre' (did you mean 'river'?), which rivers.toml names. Its columns "
        "are group, item, river, sea, source."
    )
    lines = '{"item": "elbe", "river": "Elbe", "sea": "North Sea"}\n' * 3
    message = refused(rivers_toml=TOML.replace("rivers.csv", "rivers.jsonl"), rivers_jsonl=lines)
    assert message == "rivers.jsonl: has no 'source', which rivers.toml names. Its columns are item, river, sea."


@pytest.mark.parametrize("cell", ["", " ", "|", " | "])
@pytest.mark.parametrize("column", ["item", "river", "sea"])
def test_a_cell_that_says_nothing_is_missing(refused, column, cell):
    row = {"item": "elbe", "river": "Elbe", "sea": "North Sea", "source": "Czechia"} | {column: cell}
    table = ",".join(row) + "\n" + ",".join(row.values()) + "\n"
    assert f"): has no '{column}'" in refused(rivers_toml=TOML, rivers_csv=table)


def test_all_missing_cells_are_told_at_once(refused):
    message = refused(rivers_toml=TOML, rivers_csv=RIVERS.replace("North Sea", "").replace("Russia", ""))
    assert [line.split(" (")[0] for line in message.splitlines()] == [
        "rivers.csv, line 2",
        "rivers.csv, line 3",
        "rivers.csv, line 7",
    ]
    assert "line 3 (rhine, Rhine, |German Ocean, Switzerland, europe): has an empty form among those of" in message


def test_a_problem_in_every_direction_is_told_once(refused):
    message = refused(rivers_toml=TOML, rivers_csv=RIVERS.replace("po,Po", ",Po"))
    assert message == "rivers.csv, line 6 (, Po, Adriatic, Italy, europe): has no 'item'."


def test_an_item_stands_in_a_table_once(refused):
    message = refused(rivers_toml=TOML, rivers_csv=RIVERS.replace("rhone,", "elbe,"))
    assert message.startswith("rivers.csv, line 5 (elbe, ")
    assert "is item 'elbe', and so is line 2. Give each item a name of its own" in message
    assert len(message.splitlines()) == 1


def test_alternatives_of_a_row_serve_one_direction_only(refused, opened):
    table = "item,river,sea,source,alternatives\nelbe,Elbe,North Sea,Czechia,Baltic Sea\n"
    assert "lists alternatives, and rivers.toml has several directions" in refused(rivers_toml=TOML, rivers_csv=table)
    one = TOML[: TOML.index("[directions.river-to-source]")]
    assert opened(rivers_toml=one, rivers_csv=table).questions[0].alternatives == (" Baltic Sea",)


def test_a_prompt_that_grows_from_long_cells_is_refused(refused):
    table = f"item,river,sea,source\nelbe,{'E' * 60_000},North Sea,Czechia\n"
    wide = TOML.replace("The {river} rises", "The {river} or {river} rises")
    assert "line 2 (elbe, EEE" in refused(rivers_toml=wide, rivers_csv=table)
    assert "makes a prompt of more than 65,536 characters" in refused(rivers_toml=wide, rivers_csv=table)


def test_more_questions_than_anybody_asks_are_refused_before_they_are_made(refused):
    wordings = "\n".join(f'w{n} = "The {{river}} {n} flows into the"' for n in range(2000))
    table = "item,river,sea,source\n" + "\n".join(f"i{n},R{n},S{n},T{n}" for n in range(600))
    message = refused(rivers_toml=TOML.replace("statement = ", wordings + "\nstatement = ", 1), rivers_csv=table)
    assert "rivers.toml makes 1,201,800 questions; at most 1,000,000 do" in message


def test_a_table_outside_the_folder_is_not_read(refused, tmp_path):
    assert "items: " in refused(rivers_toml=TOML.replace("rivers.csv", "../../etc/passwd"))
    assert "items: " in refused(rivers_toml=TOML.replace("rivers.csv", "/etc/passwd"))


def test_a_set_without_spaces_says_so_once(opened):
    toml = TOML.replace('items = "rivers.csv"', 'items = "rivers.csv"\nspace = false')
    spaced, bare = opened(set_toml=TOML, rivers_csv=RIVERS), opened(set_toml=toml, rivers_csv=RIVERS)
    for one, other in zip(spaced.questions, bare.questions, strict=True):
        assert one.answers == tuple(f" {form}" for form in other.answers)
        assert one.alternatives == tuple(f" {form}" for form in other.alternatives)
