"""A run's report in Markdown, of whichever kind the run is."""

from pathlib import Path

from layerwise.analysis.overview import Overview
from layerwise.errors import StoreError
from layerwise.report.prompt_report import write_prompt_report
from layerwise.report.study_report import write_study_report
from layerwise.store.run import Run
from layerwise.store.shown_names import shown_run


def write_report(run: Run, folder: Path, *, overview: Overview | None = None) -> Path:
    """Write report.md and figures/ into a folder; return the report's path.

    The text depends on nothing but the stored run, so writing it again gives the same bytes. It tells models' names,
    and not where on this machine they are.

    Args:
        run: what to report.
        folder: where the report is written.
        overview: of this run as it is shown (`store.shown_names`), from a caller who goes on to use what the report
            has computed.

    Raises:
        StoreError: the run holds no results yet, or the folder cannot be written to.
    """
    if not run.manifest["shards"]:
        raise StoreError(f"{run.path} holds no results yet. Complete it: `layerwise run … --out {run.path} --resume`.")
    overview = overview or Overview(shown_run(run))
    try:
        if run.manifest["sets"]:
            return write_study_report(overview, folder)
        study = overview.run.study
        return write_prompt_report(overview.own, folder, title=study["title"], description=study["description"])
    except OSError as error:
        raise StoreError(
            f"The report could not be written to {folder}: {error.strerror or error}. The run's numbers are stored: "
            f"make room or permissions, or write it elsewhere with `layerwise runs report {run.path} --out FOLDER`."
        ) from error
