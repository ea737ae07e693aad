"""A fit from documents to a lens on disk."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from layerwise.errors import LensError, StoreError
from layerwise.fitting.accumulating import Accumulation, Fitted, UsedText
from layerwise.fitting.estimator import MakeEstimator
from layerwise.fitting.held_out import HeldOut
from layerwise.fitting.listener import Listener
from layerwise.fitting.methods import fit_method
from layerwise.fitting.plan import LENGTH, FitPlan, FitRequest, chosen_layers, partial_folder
from layerwise.fitting.text.documents import Document
from layerwise.fitting.text.self_text import given_or_written
from layerwise.fitting.text.windows import FitText, divide
from layerwise.fitting.tuned import Tuning
from layerwise.lens_spec import method_spec
from layerwise.lenses.card import LensCard
from layerwise.lenses.fitted import FittedLens, LowRankTranslator, Translator, Translators
from layerwise.lenses.folder import save_lens
from layerwise.lenses.unembedding import unembedding_sum
from layerwise.models.loading.loaded import LoadedModel
from layerwise.text import harmless
from layerwise.types import shown_name
from layerwise.versions import package_versions

HELD_OUT = 32
"""Windows that are held out, where there is enough text."""


def make_plan(model: LoadedModel, request: FitRequest) -> FitPlan:
    """Return what is to be done, with what the method does by default filled in.

    Raises:
        LensError: a setting is none that the method or the model has.
    """
    method, until, how = request.method, request.until, fit_method(request.method)
    defaults = how.options(model)
    if unknown := [name for name in request.options if name not in defaults]:
        raise LensError(f"{method} has no setting {unknown[0]!r}; it has {', '.join(defaults)}.")
    for name, value in request.options.items():
        _expect_like(name, value, defaults[name])
    length, texts = request.length or LENGTH, request.count or how.texts
    if model.context_length and length > model.context_length:
        raise LensError(
            f"A window of {length:,} tokens is more than {model.name} reads ({model.context_length:,}). Choose a "
            "smaller --length."
        )
    if texts < 2:
        raise LensError(f"Expected at least 2 texts, one for each half; got {texts}.")
    if until is not None and not 0 < until <= 1:
        raise LensError(f"--until is a share of positions, above 0 and at most 1; got {until:g}.")
    layers = chosen_layers(request.layers, model.n_layers)
    options = {**defaults, **request.options}
    return FitPlan(method, texts, length, layers, how.until if until is None else until, request.seed, options)


def _expect_like(name: str, value: Any, default: Any) -> None:
    """Raise LensError where a setting is of another kind than its default: a text for a number, or less than zero."""
    number = isinstance(default, int | float)
    kinds = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, kinds) or isinstance(value, bool) or (number and not 0 <= value < float("inf")):
        kind = "a number, at least 0" if number else "a word"
        raise LensError(f"The setting {name} is {kind}, as in {name}={default}; got {value!r}.")


def read_text(
    model: LoadedModel, plan: FitPlan, documents: Sequence[Document | str] | None, listener: Listener | None = None
) -> FitText:
    """Return a fit's windows, from documents, or where there are none given from what the model writes.

    Raises:
        TextError: there is too little text.
    """
    listener, count = listener or Listener(), plan.texts + HELD_OUT
    given = given_or_written(
        model, documents, count, plan.length, seed=plan.seed, progress=listener.progress, on_note=listener.on_note
    )
    return divide(
        given, model.tokenizer, length=plan.length, fitted=plan.texts, held_out=HELD_OUT, progress=listener.progress
    )


def fit(model: LoadedModel, plan: FitPlan, text: FitText, out: Path, listener: Listener | None = None) -> FittedLens:
    """Fit a lens, write it to a folder, and return it as it was written.

    A fit that was interrupted goes on from OUT.partial, and comes to the same lens.

    Raises:
        LensError: what is in OUT.partial is another fit's.
        StoreError: the folder cannot be written.
    """
    listener, partial = listener or Listener(), partial_folder(out)
    tell_of(text, partial, listener)
    how = fit_method(plan.method)
    judged_on = text.held_out
    held_out = HeldOut(model, judged_on.ids, plan.seed)
    if how.make:
        accumulation = make_accumulation(model, plan, text, held_out)
        found = accumulation.carry_out(partial, progress=listener.progress, on_estimate=listener.on_estimate)
    else:
        tuning = Tuning(model, plan, text, key_of(model, plan, text), how.batch(model, plan))
        translators = tuning.carry_out(partial, progress=listener.progress, on_estimate=listener.on_estimate)
        used = UsedText.of(text, [len(half) for half in text.halves])
        found, judged_on = Fitted(translators, None, used), tuning.judged_on
        held_out = HeldOut(model, judged_on.ids, plan.seed)
    made = finish(model, plan, found, held_out, judged_on.described(), out, listener)
    shutil.rmtree(partial, ignore_errors=True)
    return made


def tell_of(text: FitText, partial: Path, listener: Listener) -> None:
    """Tell what users should know before a fit begins."""
    for note in text.notes:
        listener.on_note(note)
    if partial.exists():
        listener.on_note(f"Going on with the fit in {harmless(str(partial))}.")


def estimator_maker(model: LoadedModel, plan: FitPlan) -> MakeEstimator:
    """Return what makes the plan's estimators.

    Raises:
        LensError: its method is no sum over windows.
    """
    make = fit_method(plan.method).make
    if make is None:
        raise LensError(f"{plan.method} goes over its text more than once, so it cannot be divided into shards.")
    return lambda: make(model, plan)


def make_accumulation(model: LoadedModel, plan: FitPlan, text: FitText, held_out: HeldOut) -> Accumulation:
    """Return a fit by sums, ready to be carried out."""
    how, d = fit_method(plan.method), model.output_head.weight.shape[1]
    batch = how.batch(model, plan)
    return Accumulation(
        plan,
        text,
        held_out,
        estimator_maker(model, plan),
        key_of(model, plan, text),
        batch,
        seconds_per_window=how.seconds_per_window and how.seconds_per_window(model, plan),
        bytes_per_batch=how.batch_bytes(model, plan, batch),
        bytes_of_lens=len(plan.layers) * d * d * torch.float16.itemsize,
    )


def key_of(model: LoadedModel, plan: FitPlan, text: FitText) -> dict[str, Any]:
    """Return all that determines a fit's numbers, as plain values."""
    return {
        "method": plan.method,
        "layers": list(plan.layers),
        "settings": plan.estimator,
        "until": plan.until,
        "seed": plan.seed,
        "model": shown_name(model.name),
        "weights": model.identified().weights_sum,
        "dtype": model.info.dtype,
        "device": model.info.device,
        "text": [half.sum for half in text.halves],
        "held out": text.held_out.sum,
        "versions": package_versions(),
    }


def finish(
    model: LoadedModel,
    plan: FitPlan,
    found: Fitted,
    held_out: HeldOut,
    held_out_described: Mapping[str, Any],
    out: Path,
    listener: Listener,
) -> FittedLens:
    """Judge what was found on held-out text, and write it with its card."""
    dtype, translators = as_stored(found.translators)
    lens = FittedLens(method_spec(plan.method), translators).to(model.device)
    figures = held_out.figures(lens, plan.layers, progress=listener.progress).described()
    if found.agreement:
        figures["halves"] = found.agreement.described()
    card = LensCard(
        method=plan.method,
        model=shown_name(model.name),
        n_layers=model.n_layers,
        d_model=model.output_head.weight.shape[1],
        layers=plan.layers,
        tensors_sum="",
        unembedding_sum=unembedding_sum(model.output_head),
        weights_sum=model.identified().weights_sum,
        estimator={**plan.estimator, "seed": plan.seed},
        text={**found.used.described(), "length": plan.length, "held_out": dict(held_out_described)},
        held_out=figures,
        versions=package_versions(),
    )
    card = save_lens(out, card, translators, dtype)
    return FittedLens(card.spec(plan.method), translators, card).to(model.device)


def as_stored(translators: Translators) -> tuple[str, Translators]:
    """Return the precision to store translators in, and the translators in it.

    float16, whose rounding changes a state by a relative 2⁻¹² and no figure by a digit; float32 where a number is too
    large for it.
    """
    cpu, lowered = torch.device("cpu"), dict[int, Translator | LowRankTranslator]()
    for layer, each in translators.items():
        lowered[layer] = each.to(cpu, torch.float16)
        if not all(bool(tensor.isfinite().all()) for tensor in lowered[layer].tensors.values()):
            return "float32", {k: every.to(cpu, torch.float32) for k, every in translators.items()}
    return "float16", lowered


def expect_free(out: Path) -> None:
    """Raise where a folder has something in it: a lens took minutes or days, and is not written over."""
    try:
        there = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        raise StoreError(f"{harmless(str(out))} cannot be written: {error.strerror or error}.") from error
    if there:
        raise LensError(f"There is something in {harmless(str(out))} already. Choose another --out, or delete it.")
