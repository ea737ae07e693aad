"""The measured part of docs/performance.md."""

from collections.abc import Mapping
from pathlib import Path

from benchmarks.figures import draw_costs
from benchmarks.results import Results
from benchmarks.tables import tables

PAGE = Path("docs/performance.md")
_BEGIN, _END = "<!-- bench:begin -->", "<!-- bench:end -->"


def refresh(results: Results) -> None:
    """Put these results where the page's last ones stood, and draw its figures."""
    figures = draw_costs(results, PAGE.parent / "figures")
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    PAGE.write_text(f"{before}{_BEGIN}\n{_measured(results, figures)}\n{_END}{after}")


def _measured(results: Results, figures: Mapping[str, Path]) -> str:
    machine = results.machine
    versions = ", ".join(f"{package} {number}" for package, number in machine["versions"].items())
    paragraphs = [
        f"Measured on {machine['date']}: {machine['cpu']}, {machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['system']}; {versions}.",
        *(table.as_markdown() for table in tables(results)),
        *(["**Cost against size** (random models)"] if figures else []),
        *(f"![Time and added memory against {grows}](figures/{path.name})" for grows, path in figures.items()),
    ]
    return "\n" + "\n\n".join(paragraphs) + "\n"
