"""`layerwise view`: look at traces and runs, or trace prompts, in the browser."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from layerwise.cli.console import Debug, Device, Dtype, Memory, Revision, TrustRemoteCode, say_note, write_document
from layerwise.errors import LayerwiseError, MissingDependencyError
from layerwise.models.sources.names import DEFAULT_MODEL

if TYPE_CHECKING:
    from layerwise.tracing.model import Model
    from layerwise.types import Progress
    from layerwise.view.document import Json
    from layerwise.view.live.session import Load

_RUNS = Path("runs")
_OPTIONAL = {"starlette", "uvicorn", "anyio", "h11"}
"""Packages of `layerwise[viewer]` and what they need."""


def view(
    what: Annotated[
        list[Path] | None, typer.Argument(metavar="[RUN|TRACE.json]...", help="A run's folder, stored traces, or both.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Trace prompts in the page, with a model in memory.")] = False,
    model: Annotated[str, typer.Option(help="With --live: the model to begin with.")] = DEFAULT_MODEL,
    folder: Annotated[
        Path | None, typer.Option(help="Where stored runs may be opened from; with --live by default runs.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the loopback address; 0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address and open nothing.")] = False,
    html: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Write the view as one HTML file and serve nothing.")
    ] = None,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    debug: Debug = False,
) -> None:
    """Look at stored runs and traces in the browser, or trace prompts there as they are typed.

    Only this machine's browser can reach the page, with the token in the printed address. Ctrl-C ends it.

    Example: layerwise view --live --model smollm2-135m
    """
    if not (what or live or folder):
        raise LayerwiseError(
            "Nothing to look at. Name a run's folder or a trace's JSON file, or trace prompts with --live: "
            "layerwise view runs/001_layers_and_logits"
        )
    if html and (live or folder):
        raise LayerwiseError("--html writes a file and serves nothing: leave --live and --folder out.")
    document = _document(what or [])
    if html:
        from layerwise.view.page import page_html

        write_document(page_html(document), html)
        if html != "-":
            say_note(f"View written to {html}")
        return

    def load(name: str, progress: "Progress") -> "Model":
        from layerwise.tracing.loading import load

        return load(
            name,
            revision=revision if name == model else None,  # the bundled ones have none
            device=device,
            dtype=dtype,
            memory=memory,
            trust_remote_code=trust_remote_code and name == model,
            progress=progress,
        )

    _serve(document, load if live else None, model, _folder(folder, live), port, no_browser)


def _document(what: list[Path]) -> "Json":
    """Return the document of stored traces and at most one run."""
    from layerwise.store.run import open_run
    from layerwise.tracing.trace import Trace
    from layerwise.view.document import view_document

    runs = [path for path in what if path.is_dir()]
    if len(runs) > 1:
        raise LayerwiseError(
            f"{len(runs)} runs were named, and one is shown at a time. Name one, or choose in the page: "
            f"layerwise view --folder {runs[0].parent}"
        )
    study = None
    if runs:
        from layerwise.view.study.study_part import study_of

        study = study_of(open_run(runs[0]))
    return view_document([Trace.open(path) for path in what if not path.is_dir()], study=study)


def _folder(asked: Path | None, live: bool) -> Path | None:
    """Return the folder whose runs may be opened: the one asked for, or where `layerwise run` puts them."""
    if asked and not asked.is_dir():
        raise LayerwiseError(f"There is no folder {asked}. --folder names the one that holds runs, such as runs.")
    return asked or (_RUNS if live and _RUNS.is_dir() else None)


def _serve(document: "Json", load: "Load | None", model: str, folder: Path | None, port: int, no_browser: bool) -> None:
    try:
        from layerwise.view.live.server import ViewServer
    except ModuleNotFoundError as error:
        if error.name not in _OPTIONAL:
            raise
        raise MissingDependencyError(
            f"The viewer's server needs {error.name}, which is not installed: pip install 'layerwise[viewer]'. "
            "Without it, --html FILE writes a stored run or trace as a page."
        ) from error
    from layerwise.models.sources.bundled import BUNDLED
    from layerwise.view.live.folder import RunFolder
    from layerwise.view.live.opening import opened_in_browser
    from layerwise.view.live.session import Session

    session = Session(
        models=list(dict.fromkeys([model, *BUNDLED])) if load else (),
        load=load,
        folder=RunFolder(folder) if folder else None,
        document=document,
    )
    server = ViewServer(session, title=document["title"], live=bool(load or folder), port=port)
    print(f"Viewer: {server.url}", flush=True)
    say_note("Only this machine reaches it, with this address. Ctrl-C ends it.")
    with contextlib.nullcontext() if no_browser else opened_in_browser(server.url):
        server.serve()
