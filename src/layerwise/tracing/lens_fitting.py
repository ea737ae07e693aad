"""Fitting lenses for a model that was loaded: what `layerwise.fit_lens` does."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from layerwise.fitting.estimate import Estimate
from layerwise.fitting.fit import expect_free, fit, make_plan, read_text
from layerwise.fitting.listener import Listener
from layerwise.fitting.plan import FitPlan, FitRequest
from layerwise.fitting.shards import fit_shard, merge_shards
from layerwise.fitting.text.reading import given_documents
from layerwise.fitting.text.windows import FitText
from layerwise.lenses.fitted import FittedLens
from layerwise.lenses.own import place_for_own
from layerwise.models.loading.loaded import LoadedModel
from layerwise.tracing.model import Model
from layerwise.tracing.request import Request
from layerwise.types import Progress


def fit_lens(
    model: Model,
    method: str,
    out: str | Path | None = None,
    texts: Sequence[str | Path] | None = None,
    *,
    count: int | None = None,
    length: int | None = None,
    layers: str | None = None,
    until: float | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    text_field: str = "text",
    progress: Progress | None = None,
    on_estimate: Callable[[Estimate], None] | None = None,
    on_note: Callable[[str], None] = lambda note: None,
) -> FittedLens:
    """Fit a lens for a model, write it to a folder, and return it.

    A fit that was interrupted goes on, with the same arguments, from what lies in ``OUT.partial``.

    Args:
        model: what `layerwise.load` returns.
        method: ``ridge`` (least squares to the last layer) or another name in `fitting.methods.FIT_METHODS`.
        out: folder for the lens; by default it is kept as the model's own, and asked for by its method alone
            (``lens="ridge"``).
        texts: documents as strings, and files as `Path` (text, JSON Lines, Parquet). Without any, the model
            writes the text itself.
        count: windows of text to fit on at most; what suffices for the method by default.
        length: tokens of a window; 128 by default.
        layers: which layers get a translator, as in ``"0,4:8,-1"``; all before the last by default.
        until: stop where lenses of two halves of the text say the same likeliest token at this share of held-out
            positions, for instance .9.
        seed: of what is drawn: held-out positions, and text that the model writes.
        options: the method's own settings, such as ``{"penalty": 1e-3}``.
        text_field: field of JSON Lines, or column of Parquet, that holds the text.
        progress: called with (what, done, total).
        on_estimate: called once with what the fit will cost.
        on_note: called with what there is to know about the text, and how long a model writes its own.

    Raises:
        TextError: a text cannot be read, or there is too little.
        LensError: a setting is none of this method's or model's, or there is a lens in the folder already.
        StoreError: the folder cannot be written.
        CheckError: the model's numbers did not pass the checks.
    """
    request = FitRequest(
        method, given_documents(texts, text_field), count, length, layers, until, seed, dict(options or {})
    )
    place = place_for_own(model.info.name, method) if out is None else out
    return carry_out(model, request, place, Listener(progress, on_estimate, on_note))


def carry_out(model: Model, request: FitRequest, out: str | Path, listener: Listener) -> FittedLens:
    """Do what `fit_lens` does, of a request that is one record."""
    with _fitting(model, request, Path(out), listener) as (loaded, plan, text):
        return fit(loaded, plan, text, Path(out), listener)


def carry_out_shard(
    model: Model, request: FitRequest, shard: tuple[int, int], out: str | Path, listener: Listener
) -> None:
    """Write one shard of a fit, from 1 on and of how many, to a folder: what `merge` takes.

    Raises as `fit_lens` does; LensError too where the method has no shards.
    """
    with _fitting(model, request, Path(out), listener) as (loaded, plan, text):
        whole = plan if request.until is not None else replace(plan, until=None)  # the method's own is for one machine
        fit_shard(loaded, whole, text, Path(out), shard, listener)


def merge(
    model: Model, shards: Sequence[str | Path], out: str | Path, *, progress: Progress | None = None
) -> FittedLens:
    """Write the lens whose shards were fitted apart, and return it.

    Raises:
        LensError: they are not all shards of one fit of this model.
        StoreError: the folder cannot be written.
    """
    with model.computing() as loaded:
        return merge_shards(loaded, [Path(each) for each in shards], Path(out), Listener(progress))


@contextlib.contextmanager
def _fitting(
    model: Model, request: FitRequest, out: Path, listener: Listener
) -> Iterator[tuple[LoadedModel, FitPlan, FitText]]:
    """Give what a fit takes, in a block in which the model computes as it does for traces, and was checked."""
    expect_free(out)
    with model.computing() as loaded:
        plan = make_plan(loaded, request)
        text = read_text(loaded, plan, request.documents, listener)
        if listener.progress:
            listener.progress("checking the model", 0, None)
        model.trace_all([Request(tuple(text.held_out.ids[0].tolist()))])
        yield loaded, plan, text
