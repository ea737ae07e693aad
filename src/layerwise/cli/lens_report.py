"""`layerwise lens report`: lenses judged side by side."""

import itertools
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
)
from layerwise.cli.loading import loaded_for
from layerwise.models.sources.names import DEFAULT_MODEL


def report(
    lenses: Annotated[
        list[str], typer.Argument(metavar="LENS…", help="As for trace: ridge, jacobian:./my-lens, …; several at once.")
    ],
    model: Annotated[
        list[str] | None, typer.Option(help="Bundled name, alias, hub id, folder or GGUF file; repeat for more.")
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Unspoken intermediates as they are published (lens-eval-multihop.json); layerwise's own by default.",
        ),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE", help="Text to compare lenses with the output on; repeat. Else the model writes it."
        ),
    ] = None,
    text_field: Annotated[str, typer.Option(help="Field of JSON Lines, or column of Parquet, with the text.")] = "text",
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Read the intermediates under controls too.")
    ] = True,
    k: Annotated[int, typer.Option(min=1, help="A word is readable where its rank is at most this.")] = 10,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for report.md, report.html, figures and all ranks.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the report.")] = None,
    seed: Annotated[int, typer.Option(help="Of what controls draw.")] = 0,
    revision: Revision = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    memory: Memory = "auto",
    trust_remote_code: TrustRemoteCode = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Judge lenses side by side: on what a model has in mind and does not say, on answers that it knows, and on text.

    The logit lens stands beside them. Controls say what a number is without the thing that it should show.

    Example: layerwise lens report ridge jacobian:lenses/smollm2-jacobian --model smollm2-135m --out report

    Example: layerwise lens report jacobian:gemma-2-9b --model google/gemma-2-9b --items lens-eval-multihop.json
    """
    from layerwise.lenses.finding import expect_lens

    models = model or [DEFAULT_MODEL]
    for each, lens in itertools.product(models, lenses):
        expect_lens(lens, each)
    with progress_bar(quiet) as progress:
        from layerwise.evaluation.evaluate import evaluate_lenses
        from layerwise.evaluation.items import chosen_items
        from layerwise.fitting.text.reading import read_documents
        from layerwise.report.folder import begin_report
        from layerwise.report.lens_report import TITLE, write_evaluations, write_lens_report

        if out:
            begin_report(out)
        chosen = chosen_items(items)
        texts = read_documents(text, text_field) if text else None
        evaluated = []
        for name in models:
            loaded = loaded_for(name, progress, trust_remote_code, revision, device, dtype, memory)
            how = {"items": chosen, "texts": texts, "controls": controls, "seed": seed, "progress": progress}
            evaluated.append(evaluate_lenses(loaded, lenses, **how))
            del loaded
            if out:
                write_evaluations(evaluated, out)
    from layerwise.cli.lens_tables import print_evaluation

    for each in evaluated:
        print_evaluation(each, k)
    if out:
        print(f"Report: {write_lens_report(evaluated, out, title=title or TITLE, k=k)}")
