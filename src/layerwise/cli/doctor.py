"""`layerwise doctor`: what works here, what does not, and what to do about it."""

import json as json_format
import time
from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.cli.console import Debug, Quiet, progress_bar, results_console, write_document

if TYPE_CHECKING:
    from layerwise.models.health import Finding, Tried
    from layerwise.types import Progress

_PROMPT = "The capital of Germany is"
_STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def doctor(
    no_test: Annotated[bool, typer.Option("--no-test", help="Leave the self-test out.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Look at machine, packages, caches and models, and trace one prompt; exit code 1 if there is a problem.

    Example: layerwise doctor
    """
    from layerwise.models.health import examine

    with progress_bar(quiet) as progress:
        findings = examine(None if no_test else lambda name: _try_out(name, progress), progress)
    problems = sum(finding.state == "problem" for finding in findings)
    if json:
        from dataclasses import asdict

        written = json_format.dumps({"problems": problems, "findings": [asdict(f) for f in findings]}, indent=1)
        write_document(written + "\n", "-")
    else:
        _print(findings, problems)
    if problems:
        raise typer.Exit(1)


def _try_out(name: str, progress: "Progress") -> "Tried":
    from layerwise.models.health import Tried
    from layerwise.tracing.loading import load

    model = load(name, progress=progress)
    began = time.perf_counter()
    trace = model.trace(_PROMPT)
    return Tried(
        identity_error=trace.checks.identity_error,
        identity_limit=trace.checks.identity_limit,
        runs_as=f"{trace.model.dtype} on {trace.model.device}",
        trace_seconds=time.perf_counter() - began,
    )


def _print(findings: "list[Finding]", problems: int) -> None:
    from rich.table import Table
    from rich.text import Text

    console = results_console()
    for topic in dict.fromkeys(finding.topic for finding in findings):
        console.print(Text(topic, "bold"))
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, min_width=9)
        table.add_column(min_width=18)
        for finding in (finding for finding in findings if finding.topic == topic):
            mark = Text(f"  {finding.state}", _STYLES[finding.state])
            table.add_row(mark, Text(finding.subject), Text(finding.found))
            if finding.advice:
                table.add_row("", "", Text(f"→ {finding.advice}"))
        console.print(table)
    counted = {0: "No problems.", 1: "1 problem."}.get(problems, f"{problems} problems.")
    console.print(Text(f"\n{counted}", "bold"))
