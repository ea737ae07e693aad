r"""Several acceptable forms in one cell of a table: ``Rome|Roma``, and ``\|`` for a ``|`` that belongs to a form."""

import re

_BETWEEN = "|"
_WITH_BACKSLASHES = re.compile(r"(\\*)\|")


def split_forms(cell: str) -> list[str]:
    r"""Return the forms of a cell, as they stand there: ``a\|b|c`` holds ``a|b`` and ``c``.

    Only right before a ``|`` does a backslash mean anything: there two of them are one, and an odd one makes the ``|``
    a part of the form. Everywhere else it is a character like others.
    """
    forms, start, begun = [], 0, ""
    for at in _WITH_BACKSLASHES.finditer(cell):
        count = len(at[1])
        begun += cell[start : at.start()] + "\\" * (count // 2)
        if count % 2:
            begun += _BETWEEN
        else:
            forms.append(begun)
            begun = ""
        start = at.end()
    return [*forms, begun + cell[start:]]


def join_forms(forms: list[str]) -> str:
    """Return a cell that holds these forms: `split_forms` gives them back."""
    escaped = [_WITH_BACKSLASHES.sub(lambda at: at[1] * 2 + "\\" + _BETWEEN, form) for form in forms]
    return _BETWEEN.join([*(_with_its_end_doubled(form) for form in escaped[:-1]), *escaped[-1:]])


def _with_its_end_doubled(form: str) -> str:
    return form + "\\" * (len(form) - len(form.rstrip("\\")))
