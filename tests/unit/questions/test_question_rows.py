"""Sets of a file that has a question in each row."""

import json

import pytest

from layerwise.questions.question import Question

from .rivers import TOML, by_id

FLAT = """\
item,prompt,answer,alternatives,direction,wording,group
berlin,The capital of Germany is,Berlin,,to-capital,statement,cities
berlin,Question: What is the capital of Germany? Answer:,Berlin|the city of Berlin,,to-capital,question,cities
paris,The capital of France is,Paris,,to-capital,statement,cities
lunch,For lunch we had,soup,pasta|rice|pasta,,,
,Alone,word,,,,
"""


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
