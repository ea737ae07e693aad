"""Hints: what is probably not meant, though it can be asked."""

import pytest

from layerwise.questions.question import Question, hints, missing_spaces
from layerwise.questions.sets import open_set, shipped_sets


def said(prompt: str, *answers: str, **more) -> str:
    return "\n".join(hints([Question("q", prompt, answers, **more)]))


@pytest.mark.parametrize("prompt", ["What is the capital of France?", "Capital? ", "法国的首都是哪里？"])
def test_a_prompt_that_ends_in_a_question_mark_is_hinted_at(prompt):
    assert said(prompt, " Paris").startswith("The prompt ends in a question mark. The answer is what comes right")
    assert said(f"{prompt.rstrip()} Answer:", " Paris") == ""


@pytest.mark.parametrize("answer", [" Rome; Roma", " Rome;Roma", " Rome/Roma", " Rome / Roma"])
def test_an_answer_that_looks_like_several_forms_is_hinted_at(answer):
    assert said("The capital of Italy is", answer).startswith("The answer looks like several forms, and counts as one")


@pytest.mark.parametrize("answer", [" 1/2", " km/h", " 1914/18", " https://a.org", ";", " a;", " /"])
def test_a_separator_that_belongs_to_an_answer_is_none(answer):
    assert said("It is", answer) == ""


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("The capital of France is", "Paris"),
        ("Question: What is the capital of France? Answer:", "Paris"),
        ("Two and two make", "4"),
        ("He was born (in Rome)", "and"),
        ("So it is,", "élan"),
        ("Столица Франции —  это", "Париж"),
        ("프랑스의 수도는", "파리"),
    ],
)
def test_an_answer_without_the_space_that_its_prompt_calls_for_is_hinted_at(prompt, answer):
    message = said(prompt, answer)
    assert message.startswith("The answer stands right behind the prompt, without a space")
    assert message.endswith(f"\n  q: {prompt[-40:]}{answer}")
    assert said(prompt, f" {answer}") == ""


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("法国的首都是", "巴黎"),
        ("答案:", "巴黎"),
        ("法国的首都是", "Paris"),
        ("西暦", "1989"),
        ("เมืองหลวงคือ", "ปารีส"),
        ("The capital (of France: ", "Paris"),
        ("The capital (", "Paris"),
        ('He said: "', "Paris"),
        ("The capital is\n", "Paris"),
        ("The capital is", ", I think, Paris"),
        ("In the year 19", "89"),
        ("Pi is 3.", "14"),
        ("At 10:", "30"),
        ("2+2=", "4"),
        ("well-", "known"),
    ],
)
def test_where_no_space_belongs_there_is_no_hint(prompt, answer):
    assert said(prompt, answer) == ""


def test_a_wrong_answer_without_its_space_is_hinted_at_too():
    message = said("The capital of France is", " Paris", alternatives=("Rome",))
    assert message.endswith("  q: The capital of France isRome")


def test_sets_say_for_themselves_whether_there_is_a_space():
    question = Question("mine/q", "The opposite of happy is un", ("happy",), set="mine")
    assert missing_spaces([question]) == []


def test_a_hint_shows_a_few_questions_and_counts_the_others():
    questions = [Question(f"q{n}", f"\x1b[2JWhat is {n}?", (" a",)) for n in range(30)]
    [hint] = hints(questions)
    shown = [f"  q{n}: \\u{{1b}}[2JWhat is {n}?" for n in range(3)]
    assert hint.splitlines()[1:] == [*shown, "  … and 27 more"]


def test_nothing_is_hinted_at_in_the_sets_that_come_with_layerwise():
    assert [hints(open_set(name).questions) for name in shipped_sets()] == [[]] * len(shipped_sets())
