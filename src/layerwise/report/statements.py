"""What the question sets of a run show, in sentences made from its numbers."""

from layerwise.analysis.overview import Overview
from layerwise.analysis.set_summary import Cell
from layerwise.analysis.wordings import compared
from layerwise.report.escaping import code_span
from layerwise.report.rendering import counted, depth, percent
from layerwise.text import visible

MANY_ITEMS = 10
"""With fewer known items, a sentence says how few instead of where they settle; with fewer unknown questions, none
says what leads instead."""

NAMED = 3
"""Wordings that one sentence names; the tables have all."""

INVENTED = "fictional"
"""The set of invented facts, a control."""


def statements(overview: Overview) -> list[tuple[str, str]]:
    """Return (model, sentence in Markdown) for every model."""
    return [(model, sentence) for model in overview.models for sentence in _about(overview, model)]


def _about(overview: Overview, model: str) -> list[str]:
    cells = [cell for cell in overview.cells if cell.model == model]
    real = [cell for cell in cells if _is_real(cell.set)]
    said = []
    if real and not any(cell.known and cell.known.value for cell in real):
        questions = sum(cell.questions for cell in real)
        said.append(f"knows the answer to none of the {counted(questions, 'question')}.")
    elif real:
        said += [_about_known(real), *_about_wordings(overview, model), _about_settling(real)]
    said += _about_other_leaders(overview, model)
    if invented := [cell for cell in cells if not _is_real(cell.set)]:
        shares = " and ".join(f"{percent(cell.known)} ({code_span(cell.direction)})" for cell in invented)
        said.append(f"“knows” {shares} of invented facts: the rate at which the criterion errs.")
    return said


def _about_known(real: list[Cell]) -> str:
    """Say what is known, of questions of which some are."""
    best, worst = max(real, key=_known_share), min(real, key=_known_share)
    share = f"{percent(best.known)} of questions, {counted(best.items, 'item')}"
    if len(real) == 1:
        return f"knows the answers about {_name(best)} ({share})."
    if best is worst:
        return f"knows as much about each of the {len(real)} sets and directions, for instance {_name(best)} ({share})."
    return f"knows most about {_name(best)} ({share}) and least about {_name(worst)} ({percent(worst.known)})."


def _about_wordings(overview: Overview, model: str) -> list[str]:
    """Say where a wording decides what is known: where the intervals of the best and the worst do not overlap."""
    several = [cells for cells in compared(overview.by_wording) if cells[0].model == model and _is_real(cells[0].set)]
    apart = [each for each in overview.spreads if each.best.model == model and _is_real(each.best.set)]
    if not apart:
        return []
    named = [
        f"{_name(each.best)} ({percent(each.best.known)} in {code_span(str(each.best.wording))}, "
        f"{percent(each.worst.known)} in {code_span(str(each.worst.wording))})"
        for each in apart[:NAMED]
    ]
    most = "most in " if len(apart) > 1 else "in "
    return [
        f"knows far more in one wording than in another, in {len(apart)} of {len(several)} combinations of set and "
        f"direction with several wordings (intervals of the best and the worst do not overlap): {most}{_listed(named)}."
    ]


def _about_settling(real: list[Cell]) -> str:
    """Say where known answers settle, or that too few are known to say so."""
    settled = [(found, cell) for cell in real if (found := cell.depths["settled_top1"]) and found.n >= MANY_ITEMS]
    if not settled:
        most = max(cell.known_items for cell in real)
        return (
            f"knows the answers of at most {counted(most, 'item')} of any set and direction, and fewer than "
            f"{MANY_ITEMS} are too few to say where answers settle."
        )
    (first, early), (last, late) = (pick(settled, key=lambda each: each[0].value) for pick in (min, max))
    where = f"{depth(first)} ({_name(early)})"
    if early is late:
        return f"settles on the answers that it knows at depth {where}."
    return f"settles on the answers that it knows between depth {where} and {depth(last)} ({_name(late)})."


def _about_other_leaders(overview: Overview, model: str) -> list[str]:
    """Say in which wordings one token leads in more than half of the questions whose answer is not known."""
    found = [
        each
        for each in overview.leading_instead.values()
        if each.model == model and _is_real(each.set) and each.prevails and each.unknown >= MANY_ITEMS
    ]
    if not found:
        return []
    found.sort(key=lambda each: -each.count / each.unknown)
    named = [
        f"{code_span(visible(each.token))} in {each.count} of {each.unknown} "
        f"({' '.join(code_span(name) for name in (each.set, each.direction, each.wording) if name)})"
        for each in found[:NAMED]
    ]
    more = f"; so it is in {len(found)} wordings, see “Each wording”" if len(found) > NAMED else ""
    return [f"says mostly one and the same other token where it does not know the answer: {_listed(named)}{more}."]


def _is_real(set_name: str) -> bool:
    return set_name != INVENTED


def _listed(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _known_share(cell: Cell) -> float:
    return cell.known.value if cell.known else 0


def _name(cell: Cell) -> str:
    return " ".join(code_span(name) for name in (cell.set, cell.direction) if name)
