"""Token and prompt text made visible and harmless, for terminals, Markdown and HTML.

Vocabularies and prompts are untrusted: they hold control characters, markup and text that
reverses its direction. Whatever shows a token shows what these functions return.
"""

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_ON_ONE_LINE = {"\n": "↵", "\r": "␍", "\t": "⇥"}
_IN_A_TOKEN = _ON_ONE_LINE | {" ": "␣"}
_UNSEEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str, limit: int = 40) -> str:
    r"""Return a token's text with its white space shown and everything unprintable spelled out.

    A space becomes ``␣``, a newline ``↵``, a tab ``⇥``; other control, format, direction-changing
    and unassigned characters become ``\u{…}``. Text beyond `limit` characters ends in ``…``.
    """
    return _shown(text, limit, _IN_A_TOKEN)


def one_line(text: str, limit: int = 200) -> str:
    """Return a prompt or a name on one line: as `visible`, with its spaces left as they are."""
    return _shown(text, limit, _ON_ONE_LINE)


def harmless(text: str) -> str:
    """Return running text (a message, a path) that cannot steer a terminal; lines and tabs stay."""
    return "".join(_printable(character, {"\n": "\n", "\t": "\t"}) for character in text)


def probability(value: float) -> str:
    """Return a probability with three digits; one that would round to zero and is not reads ``<0.001``."""
    return "<0.001" if 0 < value < 0.0005 else f"{value:.3f}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: ``1 test``, ``1,200 tests``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _shown(text: str, limit: int, substitutes: dict[str, str]) -> str:
    shown = "".join(_printable(character, substitutes) for character in text[: limit + 1])
    return shown if len(text) <= limit else shown[:limit] + "…"


def _printable(character: str, substitutes: dict[str, str]) -> str:
    """Return a character, its substitute, or its number where it has no shape of its own."""
    if character in substitutes:
        return substitutes[character]
    category = unicodedata.category(character)
    if category in _UNSEEN_CATEGORIES or (category == "Zs" and character != " "):
        return f"\\u{{{ord(character):x}}}"
    return character


def first_fault(error: "ValidationError") -> str:
    """Return which part of a file is not as it should be, and how: the first, of perhaps many."""
    fault = error.errors(include_url=False)[0]
    where = one_line(".".join(map(str, fault["loc"])), 120)
    what = fault["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{where}: {what}" if where else what


def without_paths(text: str) -> str:
    """Return a message with the last part of every absolute path in it: the folders before tell whose disk it is."""
    return _PATH.sub(lambda found: "~" if _HOME.fullmatch(found[0]) else re.split(r"[\\/]", found[0])[-1], text)


_IN_NAMES = r"[^\s'\"\\/:;,()`“”]"
_PATH = re.compile(rf"(?<![\w:/.~-])(?:~|[A-Za-z]:)?(?:[\\/]{_IN_NAMES}*(?!\.){_IN_NAMES}){{2,}}")
"""Of two parts or more, so that no single slash of a sentence is one; an address (https://…) is none."""
_HOME = re.compile(r"(?:/home|/Users|[A-Za-z]:\\Users)[\\/][^\\/]+")
