"""`layerwise run`: a study, from its file to a stored run and a report."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from layerwise.cli.console import Debug, Device, Dtype, Memory, Quiet, TrustRemoteCode, progress_bar, say_note
from layerwise.errors import StoreError, StudyError

if TYPE_CHECKING:
    from layerwise.store.run import Run


def run(
    study: Annotated[Path, typer.Argument(help="The study's TOML file.")],
    model: Annotated[list[str] | None, typer.Option(help="Run these models instead of the study's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/NAME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Compute only what is missing in that folder.")] = False,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run a study, store the run, and write its report.

    Example: layerwise run experiments/001_layers_and_logits/study.toml --out runs/001
    """
    from layerwise.studies.study import read_study

    planned = read_study(study, models=model)
    folder = out or Path("runs") / planned.name
    for hint in planned.hints:
        say_note(f"Hint: {hint}")
    earlier = _shards(folder) if resume else {}
    with _interruption_told(study, folder), progress_bar(quiet) as progress:
        from layerwise.analysis.overview import Overview
        from layerwise.execution.executors import InProcess
        from layerwise.execution.recording import carry_out
        from layerwise.models.sources.spec import ModelSpec
        from layerwise.report.markdown import write_report
        from layerwise.report.prompt_findings import findings
        from layerwise.store.shown_names import shown_run
        from layerwise.tracing.loading import load_spec

        how = {"device": device, "dtype": dtype, "memory": memory, "trust_remote_code": trust_remote_code}
        models = [ModelSpec(name, **how) for name in planned.study.models]
        executor = InProcess(lambda spec: load_spec(spec, progress))
        stored = carry_out(planned, folder, executor, models=models, resume=resume, on_progress=progress)
        report, overview = None, Overview(shown_run(stored))
        if stored.manifest["shards"]:
            progress("writing the report", 1, 1)
            report = write_report(stored, folder, overview=overview)
    if earlier and _was_complete(stored, earlier):
        say_note(f"Nothing was missing in {folder}; the report was written again.")
    if report:
        for line in findings(overview.own):
            print(line.plain)
        for judgement in overview.judgements:
            print(judgement.plain)
        print(f"Report: {report}")
        if (page := report.with_suffix(".html")).is_file():
            print(f"The same as one page for a browser: {page}")
        print(f"Every question, layer by layer: layerwise runs report {folder} --html view.html")
    if stored.failures:
        said = "\n".join(f"  {name}: {reason}" for name, reason in stored.failures.items())
        raise StudyError(
            f"{len(stored.failures)} of {len(planned.study.models)} models could not be read to the end; the others "
            f"are stored and in the report.\n{said}\nOnce that is mended, complete the run with --resume."
        )


@contextlib.contextmanager
def _interruption_told(study: Path, folder: Path) -> Iterator[None]:
    """Say what is stored, and how to go on, where the work is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        if _shards(folder):
            again = f"layerwise run {study} --out {folder} --resume"
            say_note(f"Interrupted. What was finished is stored in {folder}; go on with: {again}")
        else:
            say_note("Interrupted before anything was stored.")
        raise


def _shards(folder: Path) -> dict[str, Any]:
    """Return the shards that are stored and whole, by key; none where there is no run yet."""
    from layerwise.store.run import open_run

    try:
        return open_run(folder).whole_shards()
    except StoreError:
        return {}


def _was_complete(stored: "Run", earlier: dict[str, Any]) -> bool:
    """Return whether a run has only what was there before."""
    return stored.complete and all(earlier.get(shard["key"]) == shard for shard in stored.manifest["shards"])
