"""Lenses of one model, evaluated on the same prompts and the same text."""

from collections.abc import Sequence
from pathlib import Path

import torch

from layerwise.errors import LensError, ModelError
from layerwise.evaluation.controls import Controls
from layerwise.evaluation.evaluated import Evaluation, LensRead, Word
from layerwise.evaluation.items import Item, ItemSet, chosen_items
from layerwise.evaluation.ranks import Prompts, States, last_states
from layerwise.evaluation.spellings import ids_of
from layerwise.fitting.held_out import HeldOut
from layerwise.fitting.text.reading import given_documents
from layerwise.fitting.text.self_text import given_or_written
from layerwise.fitting.text.windows import windows_of
from layerwise.lens_spec import LOGIT
from layerwise.lenses.fitted import FittedLens
from layerwise.lenses.names import expect_told_apart
from layerwise.lenses.opening import open_lens
from layerwise.models.loading.loaded import LoadedModel
from layerwise.readout.lenses import Lens
from layerwise.tracing.loading import load
from layerwise.tracing.model import Model
from layerwise.tracing.prompt_tokens import prompt_tokens
from layerwise.tracing.request import Request
from layerwise.types import Progress, shown_name
from layerwise.versions import package_versions

_WINDOWS, _LENGTH = 32, 128
"""Of text that lenses are evaluated on."""
_SEED = 20_000
"""Of what the model writes for it: another than a fit's."""


def evaluate_lenses(
    model: Model,
    lenses: Sequence[str | Lens],
    *,
    items: str | Path | ItemSet | None = None,
    texts: Sequence[str | Path] | None = None,
    text_field: str = "text",
    controls: bool = True,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Return how lenses do on unspoken intermediates, on known answers, and on text, with the logit lens beside them.

    Args:
        model: what `layerwise.load` returns.
        lenses: as for `Model.trace`.
        items: a set of unspoken intermediates, in the published form; the one that comes with layerwise by default.
        texts: documents as strings, and files as `Path`: what lenses are compared with the output on. Without any,
            the model writes the text.
        text_field: field of JSON Lines, or column of Parquet, that holds the text.
        controls: read the intermediates under controls too: several times the work.
        seed: of what controls draw.
        progress: called with (what, done, total).

    Raises:
        LensError: a lens cannot be read, or is another model's.
        QuestionError: a set cannot be read, or has an item without tokens for this model.
        TextError: there is too little text.
        CheckError: the model's numbers did not pass the checks.
    """
    used = items if isinstance(items, ItemSet) else chosen_items(None if items is None else Path(items))
    chosen = used.items
    documents = given_documents(texts, text_field)
    with model.computing() as loaded:
        opened = _opened(lenses, loaded)
        ids = [prompt_tokens(loaded.tokenizer, Request(item.prompt)).ids for item in chosen]
        model.trace_all([Request(ids[0])])  # whose numbers are checked
        spelt = [[ids_of(loaded.tokenizer, word) for word in item.words] for item in chosen]
        prompts = Prompts.run(loaded, ids, spelt, progress)
        known, answers = _known(loaded, chosen, opened[0], progress)
        held_out, text = _held_out(loaded, documents, progress)
        checks = Controls.of(prompts, ids, chosen, _random_states(loaded, ids, progress), seed) if controls else None
        read = tuple(
            LensRead(
                name=lens.spec.name,
                method=lens.card.method if isinstance(lens, FittedLens) and lens.card else None,
                unspoken=prompts.ranks(lens),
                answers=answers.ranks(lens, "answers"),
                held_out=held_out.figures(lens, range(loaded.n_layers), progress=progress),
                controls=checks.ranks(lens) if checks else {},
                card=_of_card(lens),
            )
            for lens in opened
        )
    return Evaluation(
        model=shown_name(loaded.name),
        n_layers=loaded.n_layers,
        items=used.name,
        words=known,
        text=text,
        lenses=read,
        versions=package_versions(),
    )


def _opened(lenses: Sequence[str | Lens], model: LoadedModel) -> list[Lens]:
    opened = [open_lens(LOGIT.name, model), *(open_lens(lens, model) for lens in lenses)]
    opened = list({str(lens.spec.key): lens for lens in opened}.values())
    expect_told_apart((lens.spec.name, str(lens.spec.key)) for lens in opened)
    if wrong := [lens.spec.name for lens in opened if not lens.spec.ends_at_output]:
        raise LensError(f"The {wrong[0]} lens does not end at the output, so it cannot be compared with it by layer.")
    return opened


def _of_card(lens: Lens) -> dict[str, object]:
    card = lens.card if isinstance(lens, FittedLens) else None
    return {} if card is None else {"text": dict(card.text), "held_out": dict(card.held_out)}


def _held_out(
    model: LoadedModel, documents: Sequence[str] | None, progress: Progress | None
) -> tuple[HeldOut, dict[str, object]]:
    """Return the text that lenses are compared with the output on, and what it is."""
    source = "given" if documents is not None else "written by the model"
    given = given_or_written(model, documents, _WINDOWS, _LENGTH, seed=_SEED, progress=progress)
    windows = windows_of(given, model.tokenizer, length=_LENGTH, count=_WINDOWS, progress=progress)
    return HeldOut(model, windows.ids), {"source": source, **windows.described()}


def _known(
    model: LoadedModel, items: Sequence[Item], logit: Lens, progress: Progress | None
) -> tuple[tuple[Word, ...], Prompts]:
    """Return which intermediates the model says when it is asked for them, and the prompts at whose end it does.

    One prompt of each intermediate; where a set does not say how to ask, nothing is known.
    """
    asked = [(at, word, each) for at, item in enumerate(items) for word, each in item.asked_for()]
    prompts = [model.tokenizer.encode(each.prompt) for _, _, each in asked]
    wanted = [[ids_of(model.tokenizer, items[at].words[word])] for at, word, _ in asked]
    ends = Prompts.run(model, prompts, wanted, progress) if asked else Prompts(model, torch.empty(0, 1, 1), [])
    said: dict[tuple[int, int], int] = {}
    for index, rank in enumerate(ends.at(ends.states[:, -1:]).ranks(logit)[:, -1]):
        if rank == 1:
            said.setdefault(asked[index][:2], index)
    could_be = {each[:2] for each in asked}
    words = tuple(
        Word(item.name, item.category, word, (at, index) in said if (at, index) in could_be else None)
        for at, item in enumerate(items)
        for index, word in enumerate(item.intermediates)
    )
    return words, ends.some(list(said.values()))


def _random_states(model: LoadedModel, prompts: Sequence[Sequence[int]], progress: Progress | None) -> States | None:
    """Return what the architecture makes of prompts with random weights; None where there is no such model."""
    source = None if model.checkpoint is None else model.checkpoint.source
    if source is None or source.random:
        return None
    try:
        random = load(f"random:{source.asked}", device=model.info.device, dtype=model.info.dtype, progress=progress)
    except ModelError:  # random weights are in no file that they could be streamed from
        return None
    with random.computing() as drawn:
        return last_states(drawn, prompts, progress)
