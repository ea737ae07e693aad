"""What a row's cells hold: a question's answers, in all their forms."""

from collections.abc import Iterable

from layerwise.questions.forms import split_forms
from layerwise.questions.set_files import Row
from layerwise.text import one_line

_SEPARATES = r"'|', which stands between forms (write '\|' for one that belongs to a form)"


def expect_filled(row: Row, columns: Iterable[str]) -> None:
    """Refuse a row in which one of these columns holds no form."""
    for column in sorted(columns):
        cell = row.get(column)
        if not any(form.strip() for form in split_forms(cell)):
            advice = rf". There is nothing but {_SEPARATES}" if cell.strip() else ""
            raise row.error(f"has no {one_line(repr(column), 60)}{advice}")


def answers_in(row: Row, column: str, lead: str) -> tuple[str, ...]:
    """Return the acceptable answers, the main one first, each after `lead`: its space, or nothing."""
    forms = forms_in(row, column)
    if len(forms) != len(set(forms)):
        raise row.error(f"has a form of {column!r} twice")
    return tuple(lead + form for form in forms)


def alternatives_in(row: Row, lead: str) -> tuple[str, ...]:
    """Return the wrong answers that the row lists, each once and after `lead`; other items' are not among them."""
    return tuple(lead + form for form in dict.fromkeys(forms_in(row, "alternatives")))


def forms_in(row: Row, column: str) -> list[str]:
    """Return a cell's forms, without white space at their edges; none of a cell that is empty."""
    forms = [form.strip() for form in split_forms(row.get(column))]
    if "" in forms and any(forms):
        raise row.error(f"has an empty form among those of {one_line(repr(column), 60)}, beside {_SEPARATES}")
    return [form for form in forms if form]
