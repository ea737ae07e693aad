"""A question: one prompt with what is asked of it, where it comes from, and wrong answers of the same type."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from layerwise.questions.unseen import unseen
from layerwise.text import one_line

ALTERNATIVES = 4
"""Wrong answers of the same type per question, where a set does not list its own."""

_ARTICLE = "the "

_MOST_HINTED = 3
_SEVERAL_FORMS = re.compile(r"\S\s*;\s*\S|[^\W\d]{2,}\s*/\s*[^\W\d]{2,}")
"""Of the slashes those between words: km/h and 1/2 are one form."""
_BEFORE_A_SPACE = ".,:;!?…)]}%”»"
"""What a word after it is parted from. Not a straight quotation mark, which may be an opening one."""
_WITHOUT_SPACES = re.compile("CJK|HIRAGANA|KATAKANA|BOPOMOFO|YI|THAI|LAO|KHMER|MYANMAR|TIBETAN|JAVANESE|BALINESE")
"""Beginnings of the Unicode names of letters whose scripts put no space between words."""
_OPENING = {"Ps", "Pi"}
"""Unicode's categories of opening brackets and quotation marks."""
_JOINED_TO = re.compile(r"\n\Z|[#@¡¿]\Z|(?<!\d)(?<!\d\s)[$£€¥₹]\Z|\w[-/]\Z|(?<!\w)[^\W\d_]{1,2}['’]\Z")
"""Ends of a prompt that the next word is written right after: a new line, O’, l', $."""


@dataclass(frozen=True)
class Question:
    """One item in one wording and direction."""

    id: str
    """Unique in a study."""
    prompt: str
    answers: tuple[str, ...] = ()
    """Acceptable ones, the main one first, usually with a leading space."""
    alternatives: tuple[str, ...] = ()
    """Wrong answers of the same type. The first is read like the answer, as a control."""
    track: tuple[str, ...] = ()
    """Texts of single tokens to follow."""
    role: str = "main"
    """Of a study's own questions, *main* ones are shown layer by layer, *probes* by their milestones and output."""
    set: str = ""
    """The question set; empty for a study's own questions."""
    item: str = ""
    """What is asked about. Statistics resample items: questions about one item are not independent."""
    direction: str = ""
    wording: str = ""
    group: str = ""
    """Of items: alternatives come from the same one."""


def with_alternatives(questions: Sequence[Question]) -> list[Question]:
    """Return questions with other items' answers as alternatives, where they have none and name a group.

    They are of the same direction and group: the next in a fixed shuffled order, so that each item's
    answer is the first alternative about as often as any other's.
    """
    answers: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {}
    for question in sorted(questions, key=lambda question: question.id):  # not as a file happens to have them
        of_items = answers.setdefault((question.direction, question.group), {})
        of_items[question.item] = tuple(dict.fromkeys((*of_items.get(question.item, ()), *question.answers)))
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for key, of_items in answers.items():
        order = sorted(of_items, key=lambda item: mixed(*key, item))
        for at, item in enumerate(order):
            found[*key, item] = _chosen(of_items[item], (of_items[other] for other in order[at + 1 :] + order[:at]))
    return [
        question
        if question.alternatives or not question.group
        else replace(question, alternatives=found[question.direction, question.group, question.item])
        for question in questions
    ]


def _chosen(own: tuple[str, ...], others: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return some of the others' main answers, none of which is, begins or goes on an own one."""

    def apart(*forms: str) -> bool:
        return not any(_overlap(a, b) for a in own for b in forms)

    possible = list(dict.fromkeys(forms[0] for forms in others if apart(*forms)))
    chosen = possible[:ALTERNATIVES]
    # An article decides nothing: where an answer begins with one, a wrong answer has to as well.
    if any(map(_has_article, own)) and not any(map(_has_article, chosen)):
        with_article = [wrong for wrong in possible if _has_article(wrong)]
        made_up = [made for wrong in chosen if apart(made := _with_article(wrong))]
        chosen += (with_article or made_up)[:1]
    return tuple(chosen)


def _has_article(form: str) -> bool:
    return form.lstrip().startswith(_ARTICLE)


def _with_article(form: str) -> str:
    word = form.lstrip()
    return form.removesuffix(word) + _ARTICLE + word


def _overlap(first: str, second: str) -> bool:
    first, second = first.casefold(), second.casefold()
    return first.startswith(second) or second.startswith(first)


def mixed(*names: str) -> bytes:
    """Return what puts items in an order that has nothing to do with their names, and never changes."""
    return hashlib.sha256("\n".join(names).encode()).digest()


def hints(questions: Sequence[Question]) -> list[str]:
    """Return what is probably not meant: for each kind a sentence, the first questions it is about and their count.

    All of them can be asked, and nothing here changes how.
    """
    return [
        *_hint(
            questions,
            lambda question: question.prompt if question.prompt.rstrip().endswith(("?", "？")) else "",
            "The prompt ends in a question mark. The answer is what comes right after the prompt, and a model may go "
            "on with anything there: write a sentence to be finished, or 'Question: … Answer:'.",
        ),
        *_hint(
            questions,
            lambda question: next(filter(_SEVERAL_FORMS.search, question.answers), ""),
            "The answer looks like several forms, and counts as one. Separate acceptable forms with '|' "
            "in a table; in a list each is a text of its own.",
        ),
        *missing_spaces(questions),
        *_needless_spaces(questions),
        *unseen_characters(questions),
    ]


def unseen_characters(questions: Sequence[Question]) -> list[str]:
    """Return a hint where a text of a question has characters that nobody sees and a model reads, or its name has."""
    return _hint(
        questions,
        _unseen_in,
        "Some of what is in these texts is not seen. A model reads it: its tokens, and with them every number, are "
        "others than those of the text as it looks; and names that look alike are two. Leave it out unless it is "
        "meant, and write accents in one (Unicode's form NFC).",
    )


def _unseen_in(question: Question) -> str:
    texts = [
        ("prompt", question.prompt),
        *(("answer", text) for text in question.answers),
        *(("alternative", text) for text in question.alternatives),
        *(("tracked token", text) for text in question.track),
        *((name, getattr(question, name)) for name in ("item", "direction", "wording", "group")),
    ]
    return next((f"the {what} {found[0]}: {text[-40:]}" for what, text in texts if (found := unseen(text))), "")


def missing_spaces(questions: Sequence[Question]) -> list[str]:
    """Return a hint where a study's own answers lack the space in front that its prompt calls for.

    Sets say for themselves whether there is one. After an opening bracket, a line break or half a number, and in
    scripts without spaces, an answer may well begin without.
    """
    return _hint(
        [question for question in questions if not question.set],
        lambda question: next(
            (form for form in question.answers + question.alternatives if _lacks_a_space(question.prompt, form)), ""
        ),
        "The answer stands right after the prompt, without a space, and models write a word with the one in front of "
        'it. Where it is a word of its own, begin it with a space, as in answers = [" Paris"]; the prompt ends '
        "without one.",
        lambda question, form: f"{question.prompt[-40:]}{form}",
    )


def _lacks_a_space(prompt: str, form: str) -> bool:
    last, first = prompt[-1:], form[:1]
    letters = [*filter(str.isalpha, prompt)][-1:] + [*filter(str.isalpha, form)][:1]
    return (
        first.isalnum()
        and (last.isalnum() or last in _BEFORE_A_SPACE)
        and not (first.isdigit() and re.search(r"\d[.,:]?$", prompt))
        and not any(_WITHOUT_SPACES.match(unicodedata.name(letter, "")) for letter in letters)
    )


def _needless_spaces(questions: Sequence[Question]) -> list[str]:
    """Return a hint where a set puts a space in front of an answer that its prompt calls for without one."""
    return _hint(
        questions,
        lambda question: next((form for form in question.answers if _has_a_needless_space(question, form)), ""),
        "A space is put between prompt and answer, where usually there is none: after an opening bracket or quotation "
        "mark, a new line or an apostrophe, and in scripts without spaces. Models hardly ever write such an "
        "answer. Say 'no' in a column 'space' (space = false in a TOML file).",
        lambda question, form: f"{question.prompt[-40:]}{form}",
    )


def _has_a_needless_space(question: Question, form: str) -> bool:
    prompt = question.prompt
    if not question.set or not form.startswith(" ") or not prompt:
        return False
    letters = [*filter(str.isalpha, prompt)][-1:] + [*filter(str.isalpha, form)][:1]
    return bool(
        (unicodedata.category(prompt[-1]) in _OPENING and prompt[-1] not in "«‹")  # which French puts a space after
        or _JOINED_TO.search(prompt)
        or (prompt.endswith('"') and prompt.count('"') % 2)
        or (len(letters) == 2 and all(_WITHOUT_SPACES.match(unicodedata.name(letter, "")) for letter in letters))
    )


def _hint(
    questions: Iterable[Question],
    found_in: Callable[[Question], str],
    sentence: str,
    shown: Callable[[Question, str], str] = lambda question, text: text,
) -> list[str]:
    """Return one hint about the questions in which something is found, or none."""
    found = [(question, text) for question in questions if (text := found_in(question))]
    if not found:
        return []
    few = [
        f"  {one_line(question.id, 80)}: {one_line(shown(question, text).strip(), 80)}"
        for question, text in found[:_MOST_HINTED]
    ]
    more = [f"  … and {len(found) - _MOST_HINTED:,} more"] if len(found) > _MOST_HINTED else []
    return ["\n".join([sentence, *few, *more])]
