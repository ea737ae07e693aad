"""The report of a run's question sets: Markdown, figures, pages of questions, and one HTML file."""

import itertools
import re
from pathlib import Path
from typing import Any

from layerwise.analysis.estimators import UNITS, definition
from layerwise.analysis.overview import Overview
from layerwise.analysis.own_questions import stored_answers
from layerwise.charts import AnyChart, write_png_and_svg
from layerwise.files import write_text_whole
from layerwise.report.escaping import code_span, plain, prose
from layerwise.report.prompt_findings import Finding, findings
from layerwise.report.prompt_report import write_prompt_report
from layerwise.report.rendering import environment
from layerwise.report.statements import statements
from layerwise.report.study_figures import study_charts
from layerwise.report.web import web_page
from layerwise.text import one_line, visible
from layerwise.tracing.answer_sentences import answer_label

OWN_TITLE = "Questions of the study's own"

OWN = "own-questions"
"""The folder with the report of the study's own questions."""

_MOST_IN_ONE_FILE = 4_000_000
"""Characters of pages that report.html takes in. A browser opens 20 000 rows in a second; larger pages stay files."""

_MOST_FORMS = 4
"""Accepted forms of an answer that a page of questions shows."""


def write_study_report(overview: Overview, folder: Path) -> Path:
    """Write report.md, report.html, questions/ and figures/ into a folder; return report.md's path.

    All of it depends on nothing but the stored run, so writing it again gives the same bytes. Questions of
    the study's own get their own report, in the folder `OWN`.
    """
    drawn = study_charts(overview)
    for name, chart in drawn.items():
        write_png_and_svg(chart, folder / "figures" / name)
    paths = _page_paths(overview.sets)
    pages = {path: (f"Questions: {one_line(name)}", _questions(overview, name)) for name, path in paths.items()}
    for path, (_, text) in pages.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_text_whole(folder / path, text)
    own = findings(overview.own)
    if own:
        told = write_prompt_report(overview.own, folder / OWN, title=OWN_TITLE, description="")
        text = told.read_text(encoding="utf-8")
        pages[f"{OWN}/report.md"] = (OWN_TITLE, text)
    report = folder / "report.md"
    text = _report(overview, drawn, paths, own)
    write_text_whole(report, text)
    by_picture = {f"figures/{name}.png": chart for name, chart in drawn.items()}
    title = one_line(overview.run.study["title"])
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
            definition=definition,
            units=UNITS,
            own=own,
            own_page=f"{OWN}/report.md",
            complete=run.complete,
        )
    )


def _questions(overview: Overview, name: str) -> str:
    described = overview.run.manifest["sets"]
    match = next((each for key, each in described.items() if name in (each.get("name"), Path(key).stem)), None)
    rows = [
        row | _forms(row) | {"model": cases.model, "final": float(prob), "whole": float(whole)}
        for cases in overview.main
        if len(some := cases.of(set=name))
        for row, prob, whole in zip(
            some.rows.to_dict("records"), some.curves["answer_prob"][:, -1], some.whole_prob, strict=True
        )
    ]
    rows.sort(key=lambda row: (row["question"], overview.models.index(row["model"])))
    return environment().get_template("questions.md.j2").render(name=name, described=match, rows=rows)


def _forms(row: dict[str, Any]) -> dict[str, str]:
    """Return a question's accepted forms, and which token decides the main one where it has several, in Markdown."""
    answers = stored_answers(row["answers"])
    shown = [_token(answer.text) for answer in answers[:_MOST_FORMS]]
    left_out = len(answers) - len(shown)
    return {
        "forms": " or ".join(shown) + (f" … ({left_out} more)" if left_out else ""),
        "decided_by": answer_label(answers[:1], _token) if len(answers[0].tokens) > 1 else "",
    }


def _token(text: str) -> str:
    return code_span(visible(text))
