"""The computed set: every answer worked out again from its prompt, and nothing to win by copying or guessing."""

import re
from collections import Counter, defaultdict

import pytest

from layerwise.questions.question import Question
from layerwise.questions.sets import open_set

QUESTIONS = open_set("arithmetic").questions
COMPUTED = [question for question in QUESTIONS if question.direction != "comparison"]
COMPARED = [question for question in QUESTIONS if question.direction == "comparison"]
SIZES = {
    ("addition", "one-digit"): 40,
    ("addition", "two-digits"): 40,
    ("addition", "three-digits"): 40,
    ("subtraction", "one-digit"): 32,  # there are no more whose answer is not in the prompt
    ("subtraction", "two-digits"): 40,
    ("subtraction", "three-digits"): 40,
    ("multiplication", "tables-to-12"): 40,
    ("multiplication", "two-by-one-digit"): 40,
    ("comparison", "one-digit"): 36,  # all pairs
    ("comparison", "two-digits"): 40,
    ("comparison", "three-digits"): 40,
}


def numbers(question: Question) -> tuple[int, int]:
    first, second = map(int, re.findall(r"\d+", question.prompt))
    return first, second


def answer(question: Question) -> int:
    [text] = question.answers
    return int(text)


def wrong(question: Question) -> list[int]:
    return [int(text) for text in question.alternatives]


def test_every_answer_is_right():
    for question in QUESTIONS:
        a, b = numbers(question)
        right = {"addition": a + b, "subtraction": a - b, "multiplication": a * b, "comparison": a if a > b else b}
        assert answer(question) == right[question.direction] > 0, question


def test_a_prompt_asks_for_what_its_direction_says():
    words = {"addition": r"\+|plus", "subtraction": r"-|minus", "multiplication": r"\*|times", "comparison": "larger"}
    for question in QUESTIONS:
        said = [direction for direction, sign in words.items() if re.search(sign, question.prompt)]
        assert said == [question.direction]


def test_items_are_named_by_their_numbers_and_are_as_many_as_they_should():
    signs = {"addition": "+", "subtraction": "-", "multiplication": "*", "comparison": "or"}
    items = defaultdict(set)
    for question in QUESTIONS:
        assert question.item == signs[question.direction].join(map(str, numbers(question)))
        items[question.direction, question.group].add(question.item)
    assert {key: len(found) for key, found in items.items()} == SIZES
    assert set(Counter(question.item for question in QUESTIONS).values()) == {3}


def test_numbers_are_of_the_size_that_their_group_says():
    digits = {"one-digit": (1, 1), "two-digits": (2, 2), "three-digits": (3, 3)}
    for question in QUESTIONS:
        a, b = numbers(question)
        if question.group == "tables-to-12":
            assert 2 <= min(a, b) <= max(a, b) <= 12
        else:
            expected = digits.get(question.group, (1, 2))
            assert sorted((len(str(a)), len(str(b)))) == list(expected), question


def test_no_pair_is_asked_both_ways_round():
    pairs = Counter((q.direction, q.wording, frozenset(numbers(q))) for q in QUESTIONS)
    assert set(pairs.values()) == {1}


def test_no_answer_stands_in_its_prompt_where_it_is_computed():
    assert not [question for question in COMPUTED if answer(question) in numbers(question)]


def test_wrong_answers_are_wrong_and_look_like_the_right_one():
    for question in QUESTIONS:
        assert answer(question) not in wrong(question)
        assert {len(text) for text in question.alternatives} == {len(question.answers[0])}, question
        assert min(wrong(question)) > 0
    for question in COMPUTED:
        assert len(set(wrong(question))) == 4
        assert not set(wrong(question)) & set(numbers(question)), question


def test_the_last_digit_decides_where_each_digit_is_a_token():
    for question in COMPUTED:
        assert any(number // 10 == answer(question) // 10 for number in wrong(question)), question


@pytest.mark.parametrize("direction", ["addition", "subtraction", "multiplication"])
def test_the_first_wrong_answer_is_as_often_too_large_as_too_small(direction):
    first = [wrong(q)[0] > answer(q) for q in COMPUTED if q.direction == direction]
    assert 0.4 < sum(first) / len(first) < 0.62


@pytest.mark.parametrize("group", ["one-digit", "two-digits", "three-digits"])
def test_copying_the_first_or_second_number_compares_no_better_than_chance(group):
    asked = [question for question in COMPARED if question.group == group]
    assert sum(answer(question) == numbers(question)[0] for question in asked) * 2 == len(asked)
    for question in asked:
        assert wrong(question) == [min(numbers(question))]


def test_the_larger_number_comes_first_as_often_as_second_wherever_it_does_not_matter():
    for direction in ("addition", "multiplication"):
        first = Counter((a > b) - (a < b) for a, b in (numbers(q) for q in COMPUTED if q.direction == direction))
        assert 0.35 < first[1] / sum(first.values()) < 0.6


def test_the_set_never_changes():
    """A change is a new version: stored results name the version and the sum."""
    found = open_set("arithmetic")
    assert (found.version, found.sum[:16]) == (1, "04f1f098ce90a4a4")
