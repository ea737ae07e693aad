"""The commands, put together, and the one place that turns errors into messages."""

import functools
import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer

from layerwise.cli import (
    ablate,
    causal_trace,
    confirm,
    doctor,
    lens,
    lens_report,
    models,
    patch,
    patchscope,
    questions,
    reference,
    run,
    runs,
    steer,
    trace,
    view,
)
from layerwise.cli.console import encode_results, say_error, say_note
from layerwise.errors import CheckpointWarning, LayerwiseError

app = typer.Typer(
    name="layerwise",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("trace")(trace.trace)
app.command("patch")(patch.patch)
app.command("ablate")(ablate.ablate)
app.command("patchscope")(patchscope.patchscope)
app.command("causal-trace")(causal_trace.causal_trace)
app.command("confirm")(confirm.confirm)
app.command("steer")(steer.steer)
app.command("run")(run.run)
app.command("view")(view.view)
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(runs.app, name="runs")
lens.app.command("report")(lens_report.report)
app.add_typer(lens.app, name="lens")
app.add_typer(questions.app, name="questions")
app.add_typer(reference.app, name="reference")


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"layerwise {version('layerwise')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """See how a language model's prediction forms, layer by layer.

    Example: layerwise trace "The capital of Germany is" --answer " Berlin"
    """


def _say_warning(usual: Callable[..., None], message: Warning | str, category: type[Warning], *rest: Any) -> None:
    """Print a warning of layerwise as a line on stderr, without the place in its code."""
    if issubclass(category, CheckpointWarning):
        say_note(f"Warning: {message}")
    else:
        usual(message, category, *rest)


def run_app() -> None:
    """Run the command line; a foreseen error is one message on stderr and exit code 1."""
    debug = "--debug" in sys.argv
    encode_results()
    warnings.showwarning = functools.partial(_say_warning, warnings.showwarning)
    # The tokenizers library warns when a process forks after it was used in parallel.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app()
    except LayerwiseError as error:
        if debug:
            raise
        say_error(str(error))
        sys.exit(1)
