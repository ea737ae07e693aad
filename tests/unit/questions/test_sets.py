"""Question sets: shipped ones, and those of a TOML file with its table or of questions row by row."""

import dataclasses
import itertools
import json
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from layerwise.errors import QuestionError
from layerwise.questions.question import Question, with_alternatives
from layerwise.questions.sets import QuestionSet, open_set, shipped_sets

TOML = """\
name = "rivers"
version = 2
title = "Rivers"
source = "An atlas."
items = "rivers.csv"

[directions.river-to-sea]
answer = "sea"
[directions.river-to-sea.wordings]
statement = "The {river} flows into the"
question = "Question: Into which sea does the {river} flow? Answer: the"

[directions.river-to-source]
answer = "source"
[directions.river-to-source.wordings]
statement = "The {river} rises in"
"""
RIVERS = """\
item,river,sea,source,group
elbe,Elbe|Labe,North Sea,Czechia|the Czech Republic,europe
rhine,Rhine,North Sea|German Ocean,Switzerland,europe
oder,Oder,Baltic Sea|Baltic,the Czech Republic|Czechia,europe
rhone,Rhône,Mediterranean,Switzerland,europe
po,Po,Adriatic,Italy,europe
amur,Amur,Sea of Okhotsk,Russia,asia
yangtze,Yangtze,East China Sea,China,asia
"""
FLAT = """\
item,prompt,answer,alternatives,direction,wording,group
berlin,The capital of Germany is,Berlin,,to-capital,statement,cities
berlin,Question: What is the capital of Germany? Answer:,Berlin|the city of Berlin,,to-capital,question,cities
paris,The capital of France is,Paris,,to-capital,statement,cities
lunch,For lunch we had,soup,pasta|rice|pasta,,,
,Alone,word,,,,
"""


@pytest.fixture
def write(tmp_path):
    """Write files by name; return the first one's."""

    def call(**files: str) -> str:
        for name, content in files.items():
            (tmp_path / name.replace("_", ".")).write_text(content, encoding="utf-8")
        return next(iter(files)).replace("_", ".")

    return call


@pytest.fixture
def opened(write, tmp_path):
    """Open a set made of these files."""
    return lambda **files: open_set(write(**files), tmp_path)


@pytest.fixture
def refused(opened, tmp_path):
    """Return what is said about a set made of these files, without their folder."""

    def call(**files: str) -> str:
        with pytest.raises(QuestionError) as raised:
            opened(**files)
        return str(raised.value).replace(f"{tmp_path}/", "")

    return call


@pytest.fixture
def rivers(opened) -> QuestionSet:
    return opened(rivers_toml=TOML, rivers_csv=RIVERS)


def by_id(found: QuestionSet) -> dict[str, Question]:
    return {question.id: question for question in found.questions}


# Templates and a table.


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


# Questions row by row.


def test_every_row_is_a_question(opened):
    found = opened(mine_csv=FLAT)
    assert list(by_id(found)) == [
        "mine/berlin/to-capital/statement",
        "mine/berlin/to-capital/question",
        "mine/paris/to-capital/statement",
        "mine/lunch",
        "mine/row-6",
    ]
    assert (found.name, found.version, found.source) == ("mine", 1, "mine.csv")
    lunch = by_id(found)["mine/lunch"]
    assert (lunch.prompt, lunch.answers, lunch.alternatives) == ("For lunch we had", (" soup",), (" pasta", " rice"))
    assert by_id(found)["mine/paris/to-capital/statement"].alternatives == (" Berlin",)
    assert by_id(found)["mine/row-6"].alternatives == ()


def test_prompt_and_answer_are_enough(opened):
    line = json.dumps({"prompt": "Two and two make", "answer": ["four", "4"]})
    assert opened(mine_jsonl=line).questions == (
        Question("mine/row-1", "Two and two make", (" four", " 4"), set="mine", item="row-1"),
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("prompt,answer\nOne,a\nTwo,\n", "mine.csv, line 3 (Two, ): has no 'answer'"),
        ("prompt,answer\nOne,a\n,b\n", "mine.csv, line 3 (, b): has no 'prompt'"),
        ("prompt,answer\nOne,a|a\n", "mine.csv, line 2 (One, a|a): has a form of 'answer' twice"),
        ("prompt,answer\nOne,a\nOne,b\n", "line 3 (One, b): asks 'One', and so does line 2"),
        ("prompt,answer,alternatives\nOne,a|b,c|b\n", "has 'b' both as an answer and as a wrong one"),
        ("prompt,answer\nAnswer: ,a\n", "line 2 (Answer: , a): the prompt 'Answer: ' ends in a space"),
        (
            "prompt,answer,space\nOne,a,maybe\n",
            "has something else than yes or no as its 'space'",
        ),
        (
            "item,prompt,answer\nx,One,a\nx,Two,b\n",
            "line 3 (x, Two, b): is question 'mine/x', and so is line 2. Rows of one item and direction are told apart "
            "by their wording: give it another wording, or leave it out.",
        ),
    ],
)
def test_a_row_that_cannot_be_asked_is_named_with_the_reason(refused, table, said):
    assert said in refused(mine_csv=table)


def test_a_bar_can_be_part_of_an_answer(opened):
    rows = "prompt,answer,alternatives\nThe or of C is,\\|\\|,&&|!\nA pipe is a,\\||bar,\n|,one,\n"
    both = ("\\||", "\\|")
    table, lines = opened(mine_csv=rows).questions, opened(mine_jsonl=json.dumps({"prompt": "or", "answer": both[1:]}))
    assert [question.answers for question in table] == [(" ||",), (" |", " bar"), (" one",)]
    assert table[0].alternatives == (" &&", " !")
    assert lines.questions[0].answers == (" \\|",)


@pytest.mark.parametrize("cell", ["|| b", "a|", "a||b", "|a"])
def test_an_empty_form_beside_others_is_refused_with_the_way_to_write_a_bar(refused, cell):
    message = refused(mine_csv=f"prompt,answer\nOne,{cell}\n")
    assert "mine.csv, line 2 (One, " in message
    assert "has an empty form among those of 'answer', beside '|', which stands between forms (write '\\|'" in message
    assert "of 'alternatives'" in refused(mine_csv=f"prompt,answer,alternatives\nOne,x,{cell}\n")


def test_a_null_answer_is_none(refused, opened):
    line = '{"prompt": "One", "answer": %s, "space": null, "item": null}'
    assert refused(mine_jsonl=line % "null") == "mine.jsonl, line 1 (One, , , ): has no 'answer'."
    assert opened(mine_jsonl=line % '"a"').questions[0].item == "row-1"


@pytest.mark.parametrize(
    "table",
    [
        "item,prompt,answer,direction,wording\na/b,One,x,,\na,Two,y,b,\n",
        "item,prompt,answer,direction,wording\na,One,x,b,\na,Two,y,,b\n",
        "item,prompt,answer\nrow-3,One,x\n,Two,y\n",
    ],
)
def test_rows_whose_ids_come_out_the_same_are_named_both(refused, table):
    message = refused(mine_csv=table)
    assert "mine.csv, line 3 (" in message
    assert "): is question 'mine/" in message
    assert ", and so is line 2. That is item, direction and wording with '/' between them, and a row" in message


COLUMNS = (
    "The columns are alternatives, answer, direction, group, item, prompt, space, wording, of which prompt and answer "
    "are needed."
)


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("prompt,answer,autor", "'autor' is no column of questions"),
        ("prompt,answer,alternative", "'alternative' (did you mean 'alternatives'?) is no column of questions"),
        (
            "Item,Prompt,Answer",
            "'Answer' (did you mean 'answer'?), 'Item' (did you mean 'item'?), 'Prompt' (did you mean 'prompt'?) are "
            "no columns of questions; there is no 'answer' and no 'prompt'",
        ),
        ("prompt,answer,Prompt", "'Prompt' is no column of questions"),
        ("prompt,item,group", "there is no 'answer'"),
    ],
)
def test_a_wrong_header_is_told_once_with_all_its_columns(refused, header, said):
    assert refused(mine_csv=f"{header}\n" + "One,a,b\n" * 30) == f"mine.csv, line 1: {said}. {COLUMNS}"


def test_a_header_is_named_by_its_own_line(refused):
    assert refused(mine_csv="\n\nprompt\nOne\n") == f"mine.csv, line 3: there is no 'answer'. {COLUMNS}"


def test_wrong_keys_of_json_lines_are_told_once_with_the_first_line_that_has_one(refused):
    fine, wrong = {"prompt": "One", "answer": "a"}, {"prompt": "Two", "answr": "b", "notes": "c"}
    message = refused(mine_jsonl="\n".join(map(json.dumps, [fine, wrong, wrong])))
    said = "'answr' (did you mean 'answer'?), 'notes' are no columns of questions"
    assert message == f"mine.jsonl, line 2: {said}. {COLUMNS}"
    assert refused(mine_jsonl='{"prompt": "One"}') == "mine.jsonl, line 1 (One): has no 'answer'."


def test_a_header_of_many_wrong_columns_is_cut(refused):
    message = refused(mine_csv="prompt,answer," + ",".join(f"x{n}" for n in range(40)) + "\n" + "a," * 41 + "a\n")
    assert "'x0', 'x1', 'x10'" in message
    assert " and 30 more are no columns" in message


@pytest.mark.parametrize("name", ["mine.csv", "rivers.csv"])
def test_a_table_of_damaged_rows_alone_is_refused_as_that(refused, name):
    table = "item,prompt,answer\n" + "a,b\0,c\n"
    files = {"mine_csv": table} if name == "mine.csv" else {"rivers_toml": TOML, "rivers_csv": table}
    assert "holds a character that is no text" in refused(**files)


def test_an_answer_stands_right_behind_the_prompt_where_a_row_says_so(opened):
    rows = ["德国的首都是,柏林,巴黎,no", "The capital is,Berlin,Paris,", "Rome is,old,new,yes"]
    table = "\n".join(["prompt,answer,alternatives,space", *rows])
    chinese, english, rome = opened(mine_csv=table).questions
    assert (chinese.answers, chinese.alternatives) == (("柏林",), ("巴黎",))
    assert (english.answers, english.alternatives) == ((" Berlin",), (" Paris",))
    assert (rome.answers, rome.alternatives) == ((" old",), (" new",))


def test_a_set_without_spaces_says_so_once(opened):
    toml = TOML.replace('items = "rivers.csv"', 'items = "rivers.csv"\nspace = false')
    spaced, bare = opened(set_toml=TOML, rivers_csv=RIVERS), opened(set_toml=toml, rivers_csv=RIVERS)
    for one, other in zip(spaced.questions, bare.questions, strict=True):
        assert one.answers == tuple(f" {form}" for form in other.answers)
        assert one.alternatives == tuple(f" {form}" for form in other.alternatives)


def test_what_a_complaint_quotes_is_cut_and_cannot_steer_a_terminal(refused):
    long = "x" * 60_000
    for table in (
        f"prompt,answer\n\x1b[2J{long},a\n\x1b[2J{long},b\n",
        f"item,prompt,answer\n\x1b{long},One,a\n\x1b{long},Two,b\n",
        f"prompt,answer,\x1b{long}\nOne,a,b\n",
        f"prompt,answer,alternatives\nOne,\x1b{long},\x1b{long}\n",
    ):
        message = refused(mine_csv=table)
        assert "\x1b" not in message
        assert len(message) < 2000


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
