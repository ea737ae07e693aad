"""The report of a study's own questions, each read by itself: Markdown, with its figures as PNG and SVG."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path

from layerwise.charts import AnyChart, write_png_and_svg
from layerwise.errors import StoreError
from layerwise.files import write_text_whole
from layerwise.report import figures
from layerwise.report.escaping import prose
from layerwise.report.findings import findings
from layerwise.report.limits import limits
from layerwise.report.material import Case, Material
from layerwise.report.rendering import environment
from layerwise.store.run import Run
from layerwise.text import one_line


def write_prompt_report(run: Run, folder: Path) -> Path:
    """Write report.md and figures/ into a folder; return the report's path."""
    material = Material(run)
    if not material.models:
        raise StoreError(
            f"{run.path} holds no whole model yet. Complete it: `layerwise run … --out {run.path} --resume`."
        )
    drawn = _draw(material, folder / "figures")
    report = folder / "report.md"
    write_text_whole(report, _render(material, drawn))
    return report


def slug(*parts: str) -> str:
    """Return a file name made of names, without any character that means something to a file system."""
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-.") for part in parts)


def _draw(material: Material, folder: Path) -> dict[tuple[str, ...], str]:
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

    for question in material.asked("main"):
        if question["answers"]:
            draw(("depth", question["id"]), figures.answer_by_depth(material, question["id"]))
        for model in material.models:
            case = material.case(model, question["id"])
            draw((model, question["id"], "tokens"), figures.leading_tokens(case))
            draw((model, question["id"], "bits"), figures.entropy_and_kl(case))
            if case.answers:
                draw((model, question["id"], "rank"), figures.answer_rank(case, _raw(material, case)))
    return drawn


def _raw(material: Material, case: Case) -> Case | None:
    """Return the same case through the raw lens, if the study has it beside another."""
    if "raw" not in material.lenses or case.row["lens"] == "raw":
        return None
    return material.case(case.model, case.question, "raw")


def _render(material: Material, drawn: dict[tuple[str, ...], str]) -> str:
    rendering = environment()
    token: Callable[[str], str] = rendering.filters["token"]
    return rendering.get_template("report.md.j2").render(
        study=material.run.study,
        title=prose(one_line(material.run.study["title"])),
        description=prose(material.run.study["description"].strip()),
        manifest=material.run.manifest,
        models=material.models,
        checks={model: material.checks(model) for model in material.models},
        findings=findings(material.run),
        limits=limits(material),
        token=token,
        main=material.asked("main"),
        probes=material.asked("probe"),
        case=material.case,
        raw=lambda case: _raw(material, case),
        figure=lambda *parts: drawn[parts],
        complete=material.run.complete,
    )
