"""Hints: what is probably not meant, though it can be asked."""

from dataclasses import replace

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
    assert message.startswith("The answer stands right after the prompt, without a space")
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
    questions = [Question(f"q{n}", f"What \x1b[2Jis {n}?", (" a",)) for n in range(30)]
    [hint] = hints(questions)
    shown = [f"  q{n}: What \\u{{1b}}[2Jis {n}?" for n in range(3)]
    assert hint.splitlines()[1:] == [*shown, "  … and 27 more"]


def test_nothing_is_hinted_at_in_the_sets_that_come_with_layerwise():
    assert [hints(open_set(name).questions) for name in shipped_sets()] == [[]] * len(shipped_sets())


@pytest.mark.parametrize(
    ("part", "text", "said"),
    [
        ("prompt", "The capital is\u00a0", "the prompt ends in U+00A0 (no-break space)"),
        ("answers", (" Rome", " \ufeffRoma"), "the answer begins with U+FEFF (byte order mark)"),
        ("answers", (" Zu\u0308rich",), "the answer has accents or letters written apart"),
        ("alternatives", (" Paris\u200b",), "the alternative ends in U+200B (zero width space)"),
        ("track", (" Pa\u00adris",), "the tracked token holds U+00AD (soft hyphen) inside"),
        ("item", "italy\u00a0", "the item ends in U+00A0 (no-break space)"),
        ("group", "\u200beurope", "the group begins with U+200B (zero width space)"),
    ],
)
def test_what_nobody_sees_in_a_question_is_hinted_at(part, text, said):
    plain = Question("q", "The capital of Italy is", (" Rome",), set="s", item="italy")
    [hint] = hints([replace(plain, **{part: text})])
    assert hint.startswith("Some of what is in these texts is not seen.")
    assert f"\n  q: {said}" in hint
    assert hints([plain]) == []


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("The wolf says, “", " Boo"),
        ("She said: ‘", " Hi"),
        ('She said: "', " Hi"),
        ("The price is $", " 5"),
        ("He is called O’", " Brien"),
        ("la capitale de l'", " Italie"),
        ("The capital (", " Rome"),
        ("Answer:\n", " Rome"),
        ("法国的首都是", " 巴黎"),
    ],
)
def test_a_space_that_a_set_puts_where_none_belongs_is_hinted_at(prompt, answer):
    message = said(prompt, answer, set="mine")
    assert message.startswith("A space is put between prompt and answer, where usually there is none")
    assert said(prompt, answer.strip(), set="mine") == ""
    assert said(prompt, answer) == "", "a study's own answers are written with their space"


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("The capital is", " Rome"),
        ('She said "no" and "', "yes"),
        ('She said "no"', " twice"),
        ("The players’", " coach"),
        ("It costs 5 €", " and"),
        ("Elle dit : «", " Bonjour"),
        ("1/2 =", " 0.5"),
        ("He said -", " well"),
        ("The capital of 法国 is", " Paris"),
        ("프랑스의 수도는", " 파리"),
    ],
)
def test_a_space_that_belongs_there_is_not_hinted_at(prompt, answer):
    assert said(prompt, answer, set="mine") == ""
