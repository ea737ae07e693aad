"""`layerwise causal-trace`: patch grids over a question set, with intervals and placebos."""

from pathlib import Path
from typing import Annotated

import typer

from layerwise.cli.console import (
    Debug,
    Device,
    Dtype,
    Memory,
    Quiet,
    Revision,
    TrustRemoteCode,
    progress_bar,
    say_note,
)
from layerwise.cli.loading import loaded_for
from layerwise.models.sources.names import DEFAULT_MODEL


def causal_trace(
    questions: Annotated[str, typer.Argument(metavar="SET", help="A question set's name, or its file.")],
    model: Annotated[
        list[str] | None, typer.Option(help="Bundled name, alias, hub id, folder or GGUF file; repeat for more.")
    ] = None,
    pairs: Annotated[int, typer.Option(min=1, help="How many pairs of known questions at most.")] = 50,
    asked: Annotated[
        list[str] | None, typer.Option("--question-direction", help="Of questions, as in the set; all by default.")
    ] = None,
    wording: Annotated[list[str] | None, typer.Option(help="Of questions, as in the set; all by default.")] = None,
    direction: Annotated[
        list[str] | None, typer.Option(help="denoise or noise; both by default.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the report, figures and all numbers.")] = Path(
        "causal-tracing"
    ),
    title: Annotated[str, typer.Option(help="Of the report.")] = "Causal tracing",
    seed: Annotated[int, typer.Option(help="Of placebos and intervals.")] = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say where what an answer goes by stands, layer by layer: patch grids between known questions of a set.

    Example: layerwise causal-trace capitals --model smollm2-135m --pairs 50 --out causal-tracing
    """
    from layerwise.causal.causal_tracing import trace_causes
    from layerwise.causal.patching import DIRECTIONS
    from layerwise.questions.sets import open_set
    from layerwise.report.causal_report import write_causal_report
    from layerwise.report.folder import begin_report

    opened = open_set(questions)
    chosen = opened.some(directions=asked or (), wordings=wording or ())
    by_direction = {each: [q for q in chosen if q.direction == each] for each in opened.directions}
    begin_report(out)
    found = []
    for name in model or [DEFAULT_MODEL]:
        with progress_bar(quiet) as progress:
            loaded = loaded_for(name, progress, trust_remote_code, revision, device, dtype, memory)
            for asked_direction, some in by_direction.items():
                if some:
                    called = f"{opened.name} {asked_direction}".strip()
                    found += trace_causes(
                        loaded,
                        called,
                        some,
                        directions=direction or DIRECTIONS,
                        limit=pairs,
                        seed=seed,
                        progress=progress,
                    )
            del loaded  # before the next one is there
    report = write_causal_report(found, out, title=title, description=opened.title)
    say_note(f"Report: {report}")
