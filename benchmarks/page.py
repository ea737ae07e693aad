"""The measured part of docs/performance.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import draw_costs
from benchmarks.results import Results
from benchmarks.tables import tables

PAGE = Path("docs/performance.md")


def refresh(results: Results) -> None:
    """Put these results where the page's last ones stood, and draw its figures."""
    figures = draw_costs(results, PAGE.parent / "figures")
    put("bench", _measured(results, figures))


def put(section: str, text: str) -> None:
    """Put a text between the page's two marks for a section."""
    begin, end = f"<!-- {section}:begin -->", f"<!-- {section}:end -->"
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def measured_on(machine: Mapping[str, Any]) -> str:
    """Return the sentence on where and with what something was measured."""
    versions = ", ".join(f"{package} {number}" for package, number in machine["versions"].items())
    return (
        f"Measured on {machine['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['system']}; {versions}."
    )


def _measured(results: Results, figures: Mapping[str, Path]) -> str:
    paragraphs = [
        measured_on(results.machine),
        *(table.as_markdown() for table in tables(results)),
        *(["**Cost against size** (random models)"] if figures else []),
        *(f"![Time and added memory against {grows}](figures/{path.name})" for grows, path in figures.items()),
    ]
    return "\n" + "\n\n".join(paragraphs) + "\n"
