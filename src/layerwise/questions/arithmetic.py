"""Sums, differences, products and comparisons: a set that is computed, so that every answer is right."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from layerwise.questions.question import Question, mixed

NAME = "arithmetic"
VERSION = 1
TITLE = "Arithmetic with whole numbers"
DESCRIPTION = """\
Sums, differences and products of two numbers, and which of two is larger. Groups are grades of difficulty. Wrong \
answers are near misses with as many digits as the right one: the last digit is wrong, two digits are exchanged, a \
ten is missing, another operation was done. No answer stands in its own prompt, but for comparisons, where the wrong \
answer is the other number, and the first number is the larger one as often as the second. Of 3 + 4 and 4 + 3 one is \
asked. Differences are positive; nothing is multiplied by 0 or 1.\
"""
SOURCE = "Computed; the tests compute every answer again from the numbers in its prompt."

_PER_GRADE = 40
"""Items of one direction and difficulty; fewer where there are no more."""
_NUMBERS = 60
"""Of each size, from which pairs are made: all pairs of numbers with three digits would take seconds to sort."""
_WRONG = 4

_GRADES = {"one-digit": range(1, 10), "two-digits": range(10, 100), "three-digits": range(100, 1000)}
_FACTORS = {"tables-to-12": (range(2, 13), range(2, 13)), "two-by-one-digit": (range(13, 100), range(2, 10))}

_Pair = tuple[int, int]


@dataclass(frozen=True)
class _Operation:
    direction: str
    sign: str
    """Between the numbers of an item's name."""
    compute: Callable[[int, int], int]
    wordings: dict[str, str]


_ADDITION = _Operation(
    "addition",
    "+",
    lambda a, b: a + b,
    {
        "signs": "{a} + {b} =",
        "question": "Question: What is {a} plus {b}? Answer:",
        "words": "{a} plus {b} equals",
    },
)
_SUBTRACTION = _Operation(
    "subtraction",
    "-",
    lambda a, b: a - b,
    {
        "signs": "{a} - {b} =",
        "question": "Question: What is {a} minus {b}? Answer:",
        "words": "{a} minus {b} equals",
    },
)
_MULTIPLICATION = _Operation(
    "multiplication",
    "*",
    lambda a, b: a * b,
    {
        "signs": "{a} * {b} =",
        "question": "Question: What is {a} times {b}? Answer:",
        "words": "{a} times {b} equals",
    },
)
_COMPARISON = _Operation(
    "comparison",
    "or",
    max,
    {
        "question": "Question: Which is larger, {a} or {b}? Answer:",
        "statement": "Of the numbers {a} and {b}, the larger one is",
        "record": "Numbers: {a} and {b}; the larger one:",
    },
)


def arithmetic_questions() -> tuple[Question, ...]:
    """Return all questions, always the same ones in the same order."""
    return tuple(
        question
        for operation, group, pairs in _graded()
        for a, b in sorted(pairs)
        for question in _asked(operation, group, a, b)
    )


def _graded() -> Iterator[tuple[_Operation, str, Iterable[_Pair]]]:
    for group, numbers in _GRADES.items():
        yield _ADDITION, group, _either_way(_pairs(_ADDITION, group, numbers, numbers, lambda a, b: a <= b))
    for group, numbers in _GRADES.items():
        # Of 8 - 4, the answer would stand in the prompt.
        yield _SUBTRACTION, group, _pairs(_SUBTRACTION, group, numbers, numbers, lambda a, b: a > b and a - b != b)
    for group, (first, second) in _FACTORS.items():
        pairs = _pairs(_MULTIPLICATION, group, first, second, lambda a, b, same=first == second: a <= b or not same)
        yield _MULTIPLICATION, group, _either_way(pairs)
    for group, numbers in _GRADES.items():
        yield _COMPARISON, group, _either_way(_pairs(_COMPARISON, group, numbers, numbers, lambda a, b: a < b))


def _pairs(
    operation: _Operation, group: str, first: range, second: range, wanted: Callable[[int, int], bool]
) -> list[_Pair]:
    """Return some of the pairs that are wanted, spread over the whole grid by chance that never changes."""
    name = operation.direction

    def some(numbers: range) -> list[int]:
        return sorted(numbers, key=lambda number: mixed(name, group, str(number)))[:_NUMBERS]

    grid = [(a, b) for a, b in product(some(first), some(second)) if wanted(a, b)]
    return sorted(grid, key=lambda pair: mixed(name, group, *map(str, pair)))[:_PER_GRADE]


def _either_way(pairs: list[_Pair]) -> list[_Pair]:
    """Return the pairs, every other one turned round."""
    return [(b, a) if at % 2 else (a, b) for at, (a, b) in enumerate(pairs)]


def _asked(operation: _Operation, group: str, a: int, b: int) -> Iterator[Question]:
    item, right = f"{a}{operation.sign}{b}", operation.compute(a, b)
    wrong = [min(a, b)] if operation is _COMPARISON else _near_misses(item, right, a, b)
    for wording, template in operation.wordings.items():
        yield Question(
            id="/".join((NAME, item, operation.direction, wording)),
            prompt=template.format(a=a, b=b),
            answers=(f" {right}",),
            alternatives=tuple(f" {number}" for number in wrong),
            set=NAME,
            item=item,
            direction=operation.direction,
            wording=wording,
            group=group,
        )


def _near_misses(item: str, right: int, a: int, b: int) -> list[int]:
    """Return wrong results with as many digits as the right one, none of them in the prompt, in any order.

    One has all digits but the last in common with it: so where each digit is a token, the last decides.
    """

    def fits(number: int) -> bool:
        return number > 0 and number not in (right, a, b) and len(str(number)) == len(str(right))

    step = 1 if mixed(item)[0] % 2 else -1
    nearest = [number for away in range(1, 10) for number in (right + step * away, right - step * away) if fits(number)]
    last_digit = [number for number in nearest if number // 10 == right // 10]
    slips = [_exchanged(right), a + b, a - b, a * b, right + 10 * step, right - 10 * step]
    wrong = dict.fromkeys([last_digit[0], *filter(fits, slips), *nearest])
    return sorted(list(wrong)[:_WRONG], key=lambda number: mixed(item, str(number)))


def _exchanged(number: int) -> int:
    """Return a number with its last two digits exchanged."""
    return number // 100 * 100 + number % 10 * 10 + number // 10 % 10
