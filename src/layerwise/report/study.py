"""The report of a run's question sets: Markdown, figures, pages of questions, and one HTML file."""

import itertools
import re
from pathlib import Path

import pandas as pd

from layerwise import charts
from layerwise.charts import AnyChart, write_png_and_svg
from layerwise.files import write_text_whole
from layerwise.measures.statistics import Estimate
from layerwise.report.findings import Finding, findings
from layerwise.report.overview import OWN_TITLE, Overview
from layerwise.report.rendering import environment, plain, prose
from layerwise.report.statements import statements
from layerwise.report.web import web_page
from layerwise.store.run import Run
from layerwise.text import one_line

OWN = "own-questions"
"""The folder with the report of the study's own questions."""

_MOST_IN_ONE_FILE = 4_000_000
"""Characters of pages that report.html takes in. A browser opens 20 000 rows in a second; larger pages stay files."""


def write_study_report(run: Run, folder: Path) -> Path:
    """Write report.md, report.html, questions/ and figures/ into a folder; return report.md's path.

    All of it depends on nothing but the stored run, so writing it again gives the same bytes. Questions of
    the study's own get their own report, in the folder `OWN`.
    """
    overview = Overview(run)
    drawn = _charts(overview)
    for name, chart in drawn.items():
        write_png_and_svg(chart, folder / "figures" / name)
    paths = _page_paths(overview.sets)
    pages = {path: (f"Questions: {one_line(name)}", _questions(overview, name)) for name, path in paths.items()}
    for path, (_, text) in pages.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_text_whole(folder / path, text)
    own = findings(overview.own) if overview.own else []
    if overview.own and own:
        from layerwise.report.markdown import write_report  # late: it imports this file

        text = write_report(overview.own, folder / OWN).read_text(encoding="utf-8")
        pages[f"{OWN}/report.md"] = (OWN_TITLE, text)
    report = folder / "report.md"
    text = _report(overview, drawn, paths, own)
    write_text_whole(report, text)
    by_picture = {f"figures/{name}.png": chart for name, chart in drawn.items()}
    title = one_line(run.study["title"])
    small = sum(len(text) for _, text in pages.values()) <= _MOST_IN_ONE_FILE
    write_text_whole(folder / "report.html", web_page(text, by_picture, title, pages if small else {}, folder))
    return report


def _page_paths(sets: list[str]) -> dict[str, str]:
    """Return each set's page, under a name that means nothing to a file system or to Markdown."""
    paths: dict[str, str] = {}
    for name in sets:
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-") or "set"
        taken = {path.casefold() for path in paths.values()}
        numbered = (f"questions/{plain}{f'-{n}' if n else ''}.md" for n in itertools.count())
        paths[name] = next(path for path in numbered if path.casefold() not in taken)
    return paths


def _charts(overview: Overview) -> dict[str, AnyChart]:
    drawn: dict[str, AnyChart] = {}
    if len(overview.by_depth):
        drawn["answer-by-depth"] = charts.bands(
            overview.by_depth.assign(**{name: overview.by_depth[name].map(one_line) for name in ("set", "model")}),
            facet="set",
            colour="model",
            x_title="depth",
            y_title="p(answer)",
            title="Probability of known answers by depth: median over items, 95 % interval",
        )
    drawn |= _intervals(
        "known",
        [(_row_name(cell.set, cell.direction), cell.model, cell.known) for cell in overview.cells],
        y="cell",
        x_title="share of questions whose answer is known",
        title="What the models know",
        x_domain=(0, 1),
    )
    drawn |= _intervals(
        "settled",
        [(_row_name(cell.set, cell.direction), cell.model, cell.depths["settled_top1"]) for cell in overview.cells],
        y="cell",
        x_title="depth at which known answers settle",
        title="Who settles when",
        x_domain=(0, 1.1),
    )
    drawn |= _intervals(
        "calibration-gap",
        [(one_line(gap.set), gap.model, gap.gap) for gap in overview.gaps if gap.lens == overview.lens],
        y="set",
        x_title="inner minus final probability of the answer",
        title="Is an inner layer surer than the output?",
    )
    if overview.fits:
        fitted = pd.DataFrame([vars(fit) | {"model": one_line(fit.model)} for fit in overview.fits])
        drawn["temperature"] = charts.lines(
            fitted,
            x="depth",
            y="temperature",
            colour="model",
            x_title="depth",
            y_title="temperature",
            title="Temperature that best maps a layer to the output, fitted on other items",
        )
    return drawn


def _intervals(
    name: str,
    rows: list[tuple[str, str, Estimate | None]],
    *,
    y: str,
    x_title: str,
    title: str,
    x_domain: tuple[float, float] | None = None,
) -> dict[str, AnyChart]:
    """Return a chart by its name, of (row, model, estimate) that could be estimated; nothing where none could."""
    ends = ("value", "low", "high")
    shown = [
        {y: row, "model": one_line(model), "n": found.n, **{end: getattr(found, end) for end in ends}}
        for row, model, found in rows
        if found
    ]
    if not shown:
        return {}
    chart = charts.intervals(pd.DataFrame(shown), y=y, colour="model", x_title=x_title, title=title, x_domain=x_domain)
    return {name: chart}


def _row_name(set_name: str, direction: str) -> str:
    return one_line(f"{set_name}: {direction}" if direction else set_name)


def _report(overview: Overview, drawn: dict[str, AnyChart], pages: dict[str, str], own: list[Finding]) -> str:
    run = overview.run
    return (
        environment()
        .get_template("study.md.j2")
        .render(
            overview=overview,
            manifest=run.manifest,
            study=run.study,
            title=plain(one_line(run.study["title"])),
            description=prose(run.study["description"].strip()),
            statements=statements(overview),
            infos=run.models,
            figures=drawn,
            pages=pages,
            own=own,
            own_page=f"{OWN}/report.md",
            complete=run.complete,
        )
    )


def _questions(overview: Overview, name: str) -> str:
    described = overview.run.manifest["sets"]
    match = next((each for key, each in described.items() if name in (each.get("name"), Path(key).stem)), None)
    rows = [
        row | {"model": cases.model, "n_layers": cases.n_layers, "final": float(prob), "whole": float(whole)}
        for cases in overview.main
        if len(some := cases.of(set=name))
        for row, prob, whole in zip(
            some.rows.to_dict("records"), some.curves["answer_prob"][:, -1], some.whole_prob, strict=True
        )
    ]
    rows.sort(key=lambda row: (row["question"], overview.models.index(row["model"])))
    return environment().get_template("questions.md.j2").render(name=name, described=match, rows=rows)
