"""What the question sets of a run show, in sentences made from its numbers."""

from layerwise.analysis.summary import Cell
from layerwise.report.overview import Overview
from layerwise.report.rendering import depth, percent
from layerwise.text import for_markdown

MANY_ITEMS = 10
"""With fewer known items, a sentence says how few instead of where they settle."""


def statements(overview: Overview) -> list[tuple[str, str]]:
    """Return (model, sentence in Markdown) for every model."""
    return [(model, sentence) for model in overview.models for sentence in _about(overview, model)]


def _about(overview: Overview, model: str) -> list[str]:
    cells = [cell for cell in overview.cells if cell.model == model]
    real = [cell for cell in cells if cell.set != "fictional"]
    said = []
    if real and not any(cell.known and cell.known.value for cell in real):
        said.append(f"knows the answer to none of the {sum(cell.questions for cell in real)} questions.")
    elif real:
        said += _about_known(real)
    if invented := [cell for cell in cells if cell.set == "fictional"]:
        shares = " and ".join(f"{percent(cell.known)} ({for_markdown(cell.direction)})" for cell in invented)
        said.append(f"“knows” {shares} of invented facts: the rate at which the criterion errs.")
    return said


def _about_known(real: list[Cell]) -> list[str]:
    """Say what is known and where it settles, of questions of which some are known."""
    best, worst = max(real, key=_known_share), min(real, key=_known_share)
    least = "" if worst is best else f" and least about {_name(worst)} ({percent(worst.known)})"
    said = [f"knows most about {_name(best)} ({percent(best.known)} of questions, {best.items} items){least}."]
    settled = [(found, cell) for cell in real if (found := cell.depths["settled_top1"]) and found.n >= MANY_ITEMS]
    if not settled:
        most = max(cell.known_items for cell in real)
        return [
            *said,
            f"knows the answers of at most {most} items of any set and direction, and fewer than {MANY_ITEMS} are too "
            "few to say where answers settle.",
        ]
    (first, early), (last, late) = (pick(settled, key=lambda each: each[0].value) for pick in (min, max))
    where = f"{depth(first)} ({_name(early)})"
    if early is late:
        return [*said, f"where it knows the answer, it settles at depth {where}."]
    return [
        *said,
        f"where it knows the answer, it settles between depth {where} and {depth(last)} ({_name(late)}).",
    ]


def _known_share(cell: Cell) -> float:
    return cell.known.value if cell.known else 0


def _name(cell: Cell) -> str:
    return " ".join(for_markdown(name) for name in (cell.set, cell.direction) if name)
