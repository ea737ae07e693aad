"""Characters in a text that nobody sees and a model reads: at its edges, within it, and accents written apart.

They come along when text is copied from web pages, word processors and file names, have tokens of their own, and change
probabilities by orders of magnitude. Where they belong to a script they are left alone: joiners in emoji and in Persian
or Indic words, what parts words in Thai or Khmer, and the spaces of French punctuation and of numbers.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence

_MOST_NAMED = 3

_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
"""All that Unicode calls spaces, but the ordinary one."""
_FORMAT = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
"""Joiners, marks of direction, fillers, variation selectors: Unicode's default ignorables, and those for lines."""
_TAGS = "\U000e0000-\U000e0fff"
_CONTROL = "\x00-\x08\x0b-\x1f\x7f-\x9f"
"""But for tab and line feed."""
_EDGE = re.compile(f"[ \\t\\n{_SPACES}{_FORMAT}{_TAGS}{_CONTROL}]+")

_WITHIN = re.compile(
    f"[\u00ad\u200b\u2060\ufeff{_TAGS}]"  # nothing is seen of these at all
    "|(?<=[^\\W\\d_])[\u00a0\u2007\u202f](?=[^\\W\\d_])"  # in numbers and beside punctuation it is meant
    "|(?<=[A-Za-z])[\u200c\u200d](?=[A-Za-z])"
)
_FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f")
"""An emoji such as Scotland's flag: a black one, and letters that nobody sees."""
_PARTS_WORDS = re.compile("THAI|LAO|KHMER|MYANMAR|TIBETAN|TAI |BALINESE|JAVANESE|CJK|HIRAGANA|KATAKANA")
"""Beginnings of the Unicode names of letters between which a zero-width space may show where a word ends."""

_NAMES = {"\ufeff": "byte order mark", "\u00a0": "no-break space", "\u202f": "narrow no-break space", "\t": "tab"}


def unseen(text: str) -> list[str]:
    """Return what is in a text that is not seen, in words: ``ends in U+00A0 (no-break space)``; mostly nothing."""
    if text.isascii() and text.isprintable():
        return []
    start, end = _edges(text)
    found = [f"begins with {_named(start)}"] if start else []
    found += [f"ends in {_named(end)}"] if end else []
    inner = text[len(start) : len(text) - len(end)]
    within = dict.fromkeys(at.group() for at in _within(inner))
    found += [f"holds {_named(''.join(within))} inside"] if within else []
    found += ["has accents or letters written apart (Unicode's form NFD)"] if _is_apart(text) else []
    return found


def as_seen(text: str) -> str:
    """Return a text without what `unseen` finds, or with what is usually there instead: as it was probably meant."""
    if text.isascii() and text.isprintable():
        return text
    start, end = _edges(text)
    kept = text[len(start) : len(text) - len(end)]
    for at in reversed(_within(kept)):
        kept = kept[: at.start()] + (" " if at.group() in "\u00a0\u2007\u202f" else "") + kept[at.end() :]
    lead = " " if any(character.isspace() for character in start) else ""
    return unicodedata.normalize("NFC", lead + kept) if _is_apart(text) else lead + kept


def unseen_notes(parts: Sequence[tuple[str, str]], is_read_otherwise: Callable[[str, str], bool]) -> list[str]:
    """Return a sentence for each text in which something is that nobody sees.

    Args:
        parts: what each text is, as in ``the prompt``, and the text.
        is_read_otherwise: told such a text and how it was probably meant; whether a model reads the two differently.
    """
    notes = []
    for what, text in parts:
        if (found := unseen(text)) and is_read_otherwise(text, as_seen(text)):
            notes.append(
                f"{what[:1].upper()}{what[1:]} {' and '.join(found)}. That is not seen, and read: the model's tokens "
                f"are others than those of the text as it looks, and so is every number. {_remedy(text)}"
            )
    return notes


def _remedy(text: str) -> str:
    accents = "Write accents in one: Python's unicodedata.normalize('NFC', text) does it."
    others = unseen(unicodedata.normalize("NFC", text))
    return " ".join(
        [*(["Leave it out unless it is meant."] if others else []), *([accents] if _is_apart(text) else [])]
    )


def _edges(text: str) -> tuple[str, str]:
    """Return what is at the beginning and at the end of a text and should be seen: each with all white space there.

    A tab after a line feed indents what comes next, and a text of white space alone is meant so.
    """
    end = _edge_of(text[::-1])[::-1]
    start = _edge_of(text[: len(text) - len(end)])
    body = text[: len(text) - len(end)]
    while end and body and _belongs(body[-1], end[0]):
        body, end = body + end[0], end[1:]
    if flag := next((at for at in _FLAG.finditer(text) if at.start() == len(body) - 1), None):
        body, end = text[: flag.end()], text[flag.end() :]
    tabs = bool(body) and "\n" not in end
    return (
        start if any(_counts(character) and character != "\t" for character in start) else "",
        end if any(_counts(character) and (tabs or character != "\t") for character in end) else "",
    )


def _edge_of(text: str) -> str:
    found = _EDGE.match(text)
    return found.group() if found else ""


def _counts(character: str) -> bool:
    """Return whether a character at an edge is worth a word: spaces and line feeds are seen, or said elsewhere."""
    return character not in " \n"


def _belongs(before: str, character: str) -> bool:
    """Return whether a character that is not seen is part of how the one before it is written."""
    if character in "\u200c\u200d":  # joiners, behind Arabic letters, and behind marks such as an Indic virama
        return unicodedata.bidirectional(before) == "AL" or unicodedata.category(before) in ("Mn", "Mc")
    if (
        "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
        or "\u180b" <= character <= "\u180f"
    ):
        return unicodedata.category(before) not in ("Lu", "Ll", "Lt", "Zs", "Cc", "Cf")  # variants of emoji, ideographs
    return False


def _within(text: str) -> list[re.Match[str]]:
    flags = [at.span() for at in _FLAG.finditer(text)]

    def is_meant(at: re.Match[str]) -> bool:
        if any(start <= at.start() < end for start, end in flags):
            return True
        if "\U000e0100" <= at.group() <= "\U000e01ef":
            return at.start() > 0 and _belongs(text[at.start() - 1], at.group())
        beside = text[max(at.start() - 1, 0) : at.start()] + text[at.end() : at.end() + 1]
        return at.group() in "\u200b\u2060" and any(_PARTS_WORDS.match(unicodedata.name(c, "")) for c in beside)

    return [at for at in _WITHIN.finditer(text) if not is_meant(at)]


def _is_apart(text: str) -> bool:
    """Return whether letters stand beside their accents, or a sign stands for the letter that it looks like.

    Not whether the text is in the form NFC: Hebrew and Arabic points are typed in any order, and some Indic letters
    have two characters there.
    """
    if text.isascii():
        return False
    composed = unicodedata.normalize("NFC", text)
    return len(composed) < len(text) or any(len(one := unicodedata.normalize("NFC", c)) == 1 and one != c for c in text)


def _named(characters: str) -> str:
    r"""Return characters by number and name: ``U+00A0 (no-break space)``."""
    distinct = [c for c in dict.fromkeys(characters) if _counts(c)]
    named = [f"U+{ord(c):04X} ({_NAMES.get(c) or unicodedata.name(c, 'control').lower()})" for c in distinct]
    more = [f"{len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
    return " and ".join(named[:_MOST_NAMED] + more)
