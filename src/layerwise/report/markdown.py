"""A run's report in Markdown, with its figures as PNG and SVG."""

import re
from collections.abc import Callable
from pathlib import Path

import jinja2
import pandas as pd

from layerwise.charts import AnyChart, write_png_and_svg
from layerwise.errors import StoreError
from layerwise.files import write_text_whole
from layerwise.report import figures
from layerwise.report.findings import findings
from layerwise.report.limits import limits
from layerwise.report.material import Case, Material
from layerwise.store.run import Run
from layerwise.text import for_markdown, harmless, one_line, probability, visible

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(run: Run, folder: Path) -> Path:
    """Write report.md and figures/ into a folder; return the report's path.

    The text depends on nothing but the stored run, so writing it again gives the same bytes.

    Raises:
        StoreError: the run holds no results yet, or the folder cannot be written to.
    """
    material = Material(run)
    if not material.models:
        raise StoreError(f"{run.path} holds no results yet. Complete it: `layerwise run … --out {run.path} --resume`.")
    try:
        drawn = _draw(material, folder / "figures")
        report = folder / "report.md"
        write_text_whole(report, _render(material, drawn))
    except OSError as error:
        raise StoreError(f"The report could not be written to {folder}: {error.strerror or error}.") from error
    return report


def slug(*parts: str) -> str:
    """Return a file name made of names, without any character that means something to a file system."""
    return "-".join(re.sub(r"[^A-Za-z0-9._]+", "-", part).strip("-.") for part in parts)


def _draw(material: Material, folder: Path) -> dict[str, str]:
    """Write every figure; return the path from the report to each PNG, by name."""
    drawn: dict[str, str] = {}

    def draw(name: str, chart: AnyChart) -> None:
        write_png_and_svg(chart, folder / name)
        drawn[name] = f"figures/{name}.png"

    for question in material.asked("main"):
        if question["answers"]:
            draw(slug("depth", question["id"]), figures.answer_by_depth(material, question["id"]))
        for model in material.models:
            case = material.case(model, question["id"])
            draw(slug(model, question["id"], "tokens"), figures.leading_tokens(case))
            draw(slug(model, question["id"], "bits"), figures.entropy_and_kl(case))
            if case.answers:
                draw(slug(model, question["id"], "rank"), figures.answer_rank(case, _raw(material, case)))
    return drawn


def _raw(material: Material, case: Case) -> Case | None:
    """Return the same case through the raw lens, if the study has it beside another."""
    if "raw" not in material.lenses or case.row["lens"] == "raw":
        return None
    return material.case(case.model, case.question, "raw")


def _render(material: Material, drawn: dict[str, str]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters |= {
        "token": lambda text: for_markdown(visible(text)),
        "code": for_markdown,
        "layer_of": _layer_of,
        "p": probability,
        "e": lambda value: f"{value:.1e}",
        "thousands": lambda value: f"{int(value):,}",
    }
    token: Callable[[str], str] = environment.filters["token"]
    template = environment.get_template("report.md.j2")
    return template.render(
        study=material.run.study,
        title=_prose(one_line(material.run.study["title"])),
        description=_prose(material.run.study["description"].strip()),
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
        figure=lambda *parts: drawn[slug(*parts)],
        is_missing=lambda value: value is None or bool(pd.isna(value)),
        complete=material.run.complete,
    )


def _prose(text: str) -> str:
    """Return a study's own words: its Markdown may stay, HTML and control characters may not."""
    return harmless(text).replace("<", "&lt;")


def _layer_of(layer: int | None, n_layers: int) -> str:
    """Return a milestone as layer and depth."""
    return "never" if layer is None else f"{layer} ({layer / n_layers:.0%})"
