"""The tables of measures in docs/glossary.md, written from where the measures are declared.

python docs/measures.py            # rewrite them
python docs/measures.py --check    # compare them with what is declared, and change nothing
"""

import ast
import inspect
import math
import re
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("glossary.md")

BEGIN, END = "<!-- measures, by docs/measures.py -->", "<!-- end of measures -->"

TITLES = ("measure", "unit", "from … to", "meaning")


def definitions(record: type) -> dict[str, str]:
    """Return what stands below each field of a class, on one line."""
    [declared] = ast.parse(inspect.getsource(record)).body
    assert isinstance(declared, ast.ClassDef)
    found = {}
    for field, below in zip(declared.body, declared.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(below.value.value).split())
    return found


def tables() -> str:
    """Return the tables as they should be."""
    from layerwise.tracing.layer_measures import AnswerCurves, LayerMeasures

    places = "At every layer and position:"
    answer = "Of an answer, at every layer after the prompt:"
    return f"{places}\n\n{_table(LayerMeasures)}\n\n{answer}\n\n{_table(AnswerCurves)}"


def _table(record: type) -> str:
    from layerwise.measures.measure import measures_of

    told = definitions(record)
    rows = [
        (f"`{name}`", each.unit, _ends(each.range.low, each.range.high), told[name])
        for name, each in measures_of(record).items()
    ]
    lines = [TITLES, ("---",) * len(TITLES), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _ends(low: float, high: float) -> str:
    low_end, high_end = ("" if math.isinf(end) else f"{end:g}".replace("-", "−") for end in (low, high))
    return f"{low_end} … {high_end}".strip()


def with_tables(page: str) -> str:
    """Return a page with the tables between its marks. Raises ValueError if they are not there, once each."""
    parts = re.split(f"({re.escape(BEGIN)}|{re.escape(END)})", page)
    if parts[1::2] != [BEGIN, END]:
        raise ValueError(f"Expected {BEGIN!r} and after it {END!r}, once each; found {parts[1::2]}. Put them back.")
    parts[2] = f"\n\n{tables()}\n\n"
    return "".join(parts)


if __name__ == "__main__":
    written = PAGE.read_text(encoding="utf-8")
    computed = with_tables(written)
    if "--check" in sys.argv[1:]:
        sys.exit(None if written == computed else f"{PAGE.name} is not what is declared: run python docs/measures.py")
    PAGE.write_text(computed, encoding="utf-8")
