r"""Text of others within Markdown: to be read as it stands, in an editor as on a page, and never as markup.

Each function writes a part of one line. In a table the line is taken apart at its bars first: `in_table` goes over
what stands there.
"""

import re

from layerwise.text import harmless, one_line

_TAG = r"<(?=[A-Za-z/!?])"

_MARKUP = re.compile(
    rf"""
      [`\[\]$]                                      # code, links, formulas
    | \\(?=[!-/:-@\[-`{{-~]|$)                      # what escapes, before what can be escaped
    | (?<!\s)[*~] | [*~](?!\s)                      # emphasis, but for a sign between spaces
    | (?<![^\W_])_ | _(?![^\W_])                    # emphasis, but for one within a word
    | {_TAG} | &(?=\#?\w+;)                         # HTML
    | :(?=//|[\w+-]+:) | (?<=[A-Za-z]):(?=\w)       # addresses, and names of emojis
    | (?<=www)\. | @(?=\w)
    | \#+[ ]*$                                      # the end of a heading
    """,
    re.VERBOSE,
)


def code_span(text: str) -> str:
    """Return text on one line as a code span, in which nothing is markup; nothing where the text is empty.

    What could be a tag stands in a `<code>` element, its `<` as a reference: some readers of Markdown take HTML out
    before they look for code spans.
    """
    shown = one_line(text, limit=2000)
    if not shown or re.search(_TAG, shown):
        return shown and f"<code>{_escaped(shown)}</code>"
    fence = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    # A reader takes a space off both ends where both have one.
    both = shown[0] == shown[-1] == " " and shown.strip()
    pad = " " if both or "`" in (shown[0], shown[-1]) else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def plain(text: str) -> str:
    """Return a name or a sentence on one line, of which nothing is markup, after whatever begins the line."""
    return _escaped(one_line(text, limit=2000))


def prose(text: str) -> str:
    """Return a study's own words: its Markdown may stay, HTML and control characters may not."""
    return re.sub(_TAG, "&lt;", harmless(text))


def in_table(markdown: str) -> str:
    """Return a part of a line as it stands in a table."""
    return markdown.replace("|", r"\|")


def _escaped(shown: str) -> str:
    return _MARKUP.sub(lambda found: "&lt;" if found[0] == "<" else f"\\{found[0]}", shown)
