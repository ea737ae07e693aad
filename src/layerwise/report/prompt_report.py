"""The report of a study's own questions, each read by itself: Markdown, with its figures as PNG and SVG."""

import itertools
from collections.abc import Callable
from pathlib import Path

from layerwise.analysis.own_questions import Case, OwnQuestions
from layerwise.charts import AnyChart, write_png_and_svg
from layerwise.errors import StoreError
from layerwise.files import write_text_whole
from layerwise.lens_spec import RAW
from layerwise.report import figures
from layerwise.report.escaping import prose
from layerwise.report.folder import slug
from layerwise.report.limits import limits
from layerwise.report.prompt_findings import findings
from layerwise.report.rendering import environment
from layerwise.text import one_line


def write_prompt_report(own: OwnQuestions, folder: Path, *, title: str, description: str) -> Path:
    """Write report.md and figures/ into a folder; return the report's path."""
    if not own.models:
        path = own.run.path
        raise StoreError(f"{path} holds no whole model yet. Complete it: `layerwise run … --out {path} --resume`.")
    drawn = _draw(own, folder / "figures")
    report = folder / "report.md"
    write_text_whole(report, _render(own, drawn, title, description))
    return report


def _draw(own: OwnQuestions, folder: Path) -> dict[tuple[str, ...], str]:
    """Write every figure; return the path from the report to each PNG, by what it shows."""
    drawn: dict[tuple[str, ...], str] = {}
    taken: set[str] = set()

    def draw(shown: tuple[str, ...], chart: AnyChart) -> None:
        # Different names may make one slug, and disks may know no upper case.
        numbered = (slug(*shown) + (f"-{n}" if n else "") for n in itertools.count())
        name = next(each for each in numbered if each.casefold() not in taken)
        taken.add(name.casefold())
        write_png_and_svg(chart, folder / name)
        drawn[shown] = f"figures/{name}.png"

    for question in own.asked("main"):
        if question["answers"]:
            draw(("depth", question["id"]), figures.answer_by_depth(own, question["id"]))
        for model in own.models:
            case = own.case(model, question["id"])
            draw((model, question["id"], "tokens"), figures.leading_tokens(case))
            draw((model, question["id"], "bits"), figures.entropy_and_kl(case))
            if case.answers:
                draw((model, question["id"], "rank"), figures.answer_rank(_through_each_lens(own, case)))
    return drawn


def _raw(own: OwnQuestions, case: Case) -> Case | None:
    """Return the same case through the raw lens, if the study has it beside another."""
    if RAW.name not in own.lenses or case.row["lens"] == RAW.name:
        return None
    return own.case(case.model, case.question, RAW.name)


def _through_each_lens(own: OwnQuestions, case: Case) -> list[Case]:
    """Return the case and the same one through every other lens of the study."""
    others = [lens for lens in own.lenses if lens != case.row["lens"]]
    return [case, *(own.case(case.model, case.question, lens) for lens in others)]


def _render(own: OwnQuestions, drawn: dict[tuple[str, ...], str], title: str, description: str) -> str:
    rendering = environment()
    token: Callable[[str], str] = rendering.filters["token"]
    return rendering.get_template("report.md.j2").render(
        study=own.run.study,
        title=prose(one_line(title)),
        description=prose(description.strip()),
        manifest=own.run.manifest,
        models=own.models,
        checks=own.checks.loc,
        findings=findings(own),
        limits=limits(own),
        token=token,
        lenses=[own.lens, *own.fitted_lenses],
        fitted=own.fitted_lenses,
        main=own.asked("main"),
        probes=own.asked("probe"),
        case=own.case,
        raw=lambda case: _raw(own, case),
        figure=lambda *parts: drawn[parts],
        complete=own.run.complete,
    )
