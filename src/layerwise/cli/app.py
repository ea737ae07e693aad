"""The commands, put together, and the one place that turns errors into messages."""

import os
import sys

import typer

from layerwise.cli import doctor, models, questions, reference, run, runs, trace, view
from layerwise.cli.console import say_error
from layerwise.errors import LayerwiseError

app = typer.Typer(
    name="layerwise",
    help="See how a language model's prediction forms, layer by layer.\n\n"
    'Example: layerwise trace "The capital of Germany is" --answer " Berlin"',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("trace")(trace.trace)
app.command("run")(run.run)
app.command("view")(view.view)
app.command("doctor")(doctor.doctor)
app.add_typer(models.app, name="models")
app.add_typer(runs.app, name="runs")
app.add_typer(questions.app, name="questions")
app.add_typer(reference.app, name="reference")


def run_app() -> None:
    """Run the command line; a foreseen error is one message on stderr and exit code 1."""
    debug = "--debug" in sys.argv
    # The tokenizers library warns when a process forks after it was used in parallel.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        app()
    except LayerwiseError as error:
        if debug:
            raise
        say_error(str(error))
        sys.exit(1)
