"""Patch grids: one run's values put into another, at one place after another, all of them side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.cells import Cell
from layerwise.capture.edits import Edit
from layerwise.capture.site_values import resolve_sites
from layerwise.causal.grid import PatchGrid, Patching, SubjectNoise
from layerwise.causal.outcomes import Outcome, run_cells
from layerwise.causal.prompt_pair import PromptPair
from layerwise.causal.sources import last_site, moved_at_random, noise_on_embeddings, values_at
from layerwise.errors import EditError, PromptError
from layerwise.interventions import changes
from layerwise.models.loading.loaded import LoadedModel
from layerwise.sites import KINDS, PER_HEAD, Site
from layerwise.tracing.model import Model
from layerwise.tracing.prepared_request import prepare
from layerwise.tracing.request import Answered, Prompt, Request
from layerwise.types import Progress
from layerwise.versions import package_versions

DIRECTIONS = ("denoise", "noise")

_SURELY = 1e-3
"""An effect smaller than this cannot be recovered: rounding would be divided by it."""


def patch(
    model: Model,
    clean: Prompt,
    corrupted: Prompt | SubjectNoise,
    answer: Answered,
    against: Answered | None = None,
    *,
    kinds: str | Sequence[str] = "resid_pre",
    direction: str = "denoise",
    window: int = 1,
    spans: Mapping[str, tuple[str, str]] | None = None,
    chat: bool = False,
    chat_args: Mapping[str, Any] | None = None,
    placebo: bool = False,
    seed: int = 0,
    only_effect: bool = False,
    progress: Progress | None = None,
) -> Patching:
    """Return what becomes of the prediction when one run's values are put into another, place by place.

    A cell takes a site of one block at one position (of ``z`` and other kinds with heads: one head, at all positions),
    and puts there what the other run has at the position that stands for it. Cells run side by side, each only from the
    layer and position on that it changes.

    Args:
        model: what `layerwise.load` returns.
        clean: the prompt that the answer belongs to.
        corrupted: a prompt that differs in what the answer goes by; or `SubjectNoise` on the clean one's subject.
        answer: the clean prompt's answer, usually with a leading space.
        against: the other answer, in whose logit the effect is measured too; by default it is the answer's
            log-probability alone.
        kinds: kinds of site: ``resid_pre`` (the stream at each layer), ``attn_out``, ``mlp_out``, ``z`` (heads), or
            another of `Site`.
        direction: ``denoise`` puts clean values into the corrupted run: what brings the answer back is sufficient.
            ``noise`` puts corrupted values into the clean run: what takes the answer away is necessary.
        window: how many consecutive blocks are patched at once, with the row's in the middle.
        spans: where the prompts cannot be aligned by themselves: by name, what stands in each.
        chat: put both prompts into the model's chat template.
        chat_args: arguments of the chat template.
        placebo: run every cell once more with a placebo: the patched run's own values moved as far as the patch moves
            them, in a random direction.
        seed: of the placebo's directions.
        only_effect: of cells read the difference of the answers' logits alone, and no ranks or distances: of a large
            vocabulary that takes a fraction of the time.
        progress: called with (what, done, total).

    Raises:
        PromptError: the prompts cannot be aligned, the answers coincide, or one does not fit the other prompt.
        EditError: there is no such direction or window, or noise that is none.
        UnsupportedModelError: the architecture lacks a kind of site.
        CheckError: the model's numbers did not pass the checks.
    """
    if direction not in DIRECTIONS:
        raise EditError(f"Expected a direction, {' or '.join(DIRECTIONS)}; got {direction!r}.")
    if window < 1:
        raise EditError(f"A window has at least one block; got {window}.")
    asked = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    if unknown := [kind for kind in asked if kind not in KINDS or kind == "pattern"]:
        possible = ", ".join(kind for kind in KINDS if kind != "pattern")
        raise PromptError(f"{unknown[0]!r} is no kind of site that can be patched in a grid: expected {possible}.")
    noise = corrupted if isinstance(corrupted, SubjectNoise) else None
    asks = Request(
        clean,
        (answer,),
        () if against is None else (against,),
        wrong=against,
        chat=chat,
        chat_args=dict(chat_args or {}),
    )
    with model.computing() as loaded:
        prepared = prepare(loaded, asks)
        other = prepared if isinstance(corrupted, SubjectNoise) else prepare(loaded, replace(asks, prompt=corrupted))
        model.expect_checked([prepared.ids, other.ids], progress)
        pair = PromptPair.of(loaded, prepared, other, noise.subject if noise else None, spans)
        denoises = direction == "denoise"
        base, source = (pair.corrupted, pair.clean) if denoises else (pair.clean, pair.corrupted)
        pairs = [(theirs, mine) if denoises else (mine, theirs) for mine, theirs in pair.alignment.pairs]
        sites = {kind: resolve_sites(loaded, kind) for kind in asked}
        draws = (
            [
                noise_on_embeddings(loaded, pair.subject, noise.deviations, noise.seed + number)
                for number in range(noise.draws)
            ]
            if noise and pair.subject
            else [()]
        )
        found: list[_Found] = []
        for number, corruption in enumerate(draws):
            told = progress if len(draws) == 1 else progress and _of_draws(progress, number, len(draws))
            mine, theirs = (corruption, ()) if denoises else ((), corruption)
            every = [site for each in sites.values() for site in each]
            values = values_at(loaded, source, theirs, every)
            put = [values]
            if placebo:
                put.append(moved_at_random(values_at(loaded, base, mine, every), values, pairs, seed + number))
            shared = pair.alignment.shared
            plans = [_plan(kind, sites[kind], each, pairs, shared, window) for each in put for kind in asked]
            found.append(_run(loaded, base, mine, plans, values[last_site(loaded)][-1], pair, only_effect, told))
        return _joined(loaded, pair, found, direction, window, noise)


@dataclass(frozen=True)
class _Plan:
    """The cells of one grid."""

    kind: str
    blocks: tuple[int, ...]
    columns: tuple[int, ...]
    cells: dict[tuple[int, int], Cell]
    """By row and column; those that are missing change nothing."""


@dataclass(frozen=True)
class _Found:
    """What one draw's runs say."""

    unpatched: Outcome
    source: Outcome
    plans: list[_Plan]
    values: list[dict[str, Float[np.ndarray, "row column"]]]
    """By grid and measure."""


def _plan(
    kind: str,
    sites: Sequence[Site],
    values: Mapping[str, Tensor],
    pairs: Sequence[tuple[int, int]],
    shared: int,
    window: int,
) -> _Plan:
    """Return a grid's cells: of rows of blocks, and of columns of positions or heads."""
    blocks = [site.block for site in sites]
    changed = [(mine, theirs) for mine, theirs in pairs if mine >= shared]
    if kind in PER_HEAD:
        columns = range(values[str(sites[0])].shape[1])
        chosen = {head: ([mine for mine, _ in changed], [theirs for _, theirs in changed]) for head in columns}
    else:
        columns = [mine for mine, _ in pairs]
        chosen = {mine: ([mine], [theirs]) for mine, theirs in changed}
    cells: dict[tuple[int, int], Cell] = {}
    for row in range(len(sites)):
        # The window is cut off at the model's ends, and has blocks of the kind only.
        patched = sites[max(0, row - window // 2) : row + (window + 1) // 2]
        for column, place in enumerate(columns):
            if place in chosen:
                mine, theirs = chosen[place]
                edits = (_put(site, place if kind in PER_HEAD else None, values, mine, theirs) for site in patched)
                cells[row, column] = Cell(tuple(edits), min(mine))
    return _Plan(kind, tuple(blocks), tuple(columns), cells)


def _put(site: Site, head: int | None, values: Mapping[str, Tensor], mine: list[int], theirs: list[int]) -> Edit:
    taken = values[str(site)][theirs]
    if head is None:
        return changes.put(site, taken, mine)
    return changes.put(replace(site, head=head), taken[:, head], mine)


def _run(
    model: LoadedModel,
    ids: tuple[int, ...],
    edits: tuple[Edit, ...],
    plans: list[_Plan],
    source: Float[Tensor, " d_model"],
    pair: PromptPair,
    only_effect: bool,
    progress: Progress | None,
) -> _Found:
    """Run all cells, as many together as there is room for, and read what they say."""
    cells = [cell for plan in plans for cell in plan.cells.values()]
    answers = pair.answer, pair.against
    read = run_cells(model, ids, cells, source, answers, embedded=edits, only_effect=only_effect, progress=progress)
    values: list[dict[str, np.ndarray]] = []
    first = 0
    for plan in plans:
        shape = len(plan.blocks), len(plan.columns)
        at = tuple(np.array([*plan.cells]).T)
        mine = {name: np.full(shape, read.of_text[name]) for name in read.of_cells}
        for name, each in mine.items():
            each[at] = read.of_cells[name][first : first + len(plan.cells)]
        first += len(plan.cells)
        values.append(mine)
    return _Found(read.unpatched, read.source, plans, values)


def _of_draws(progress: Progress, number: int, draws: int) -> Progress:
    return lambda what, done, total: progress(f"draw {number + 1} of {draws}: {what}", done, total)


def _joined(
    model: LoadedModel,
    pair: PromptPair,
    found: Sequence[_Found],
    direction: str,
    window: int,
    noise: SubjectNoise | None,
) -> Patching:
    """Return grids of all draws: means, and how far the draws spread."""
    effect = "logit_difference" if pair.against else "answer_logprob"
    notes: list[str] = []
    grids: list[PatchGrid] = []
    between = [getattr(each.source, effect) - getattr(each.unpatched, effect) for each in found]
    if min(map(abs, between)) < _SURELY:
        notes.append(
            f"The two runs differ by {min(map(abs, between)):.1g} in {effect}: there is nothing to recover, and the "
            "recovery is left out."
        )

    def recovered(index: int) -> np.ndarray:
        """Return how far each draw's grid recovers, [draw, row, column]."""
        moved = [each.values[index][effect] - getattr(each.unpatched, effect) for each in found]
        wholes = [whole if abs(whole) >= _SURELY else np.nan for whole in between]
        return np.stack([each / whole for each, whole in zip(moved, wholes, strict=True)])

    plans = found[0].plans
    kinds = list(dict.fromkeys(plan.kind for plan in plans))
    for index, plan in enumerate(plans[: len(kinds)]):
        of_draws = recovered(index)
        grids.append(
            PatchGrid(
                kind=plan.kind,
                blocks=plan.blocks,
                columns=plan.columns,
                of_heads=plan.kind in PER_HEAD,
                values={
                    name: np.mean([each.values[index][name] for each in found], axis=0)
                    for name in found[0].values[index]
                },
                recovery=of_draws.mean(axis=0),
                spread=of_draws.std(axis=0, ddof=1) if len(found) > 1 else None,
                placebo=recovered(len(kinds) + index).mean(axis=0) if len(plans) > len(kinds) else None,
            )
        )
    return Patching(
        model=model.info,
        direction=direction,
        effect=effect,
        clean=model.tokenizer.tokens(pair.clean),
        corrupted=model.tokenizer.tokens(pair.corrupted),
        alignment=pair.alignment,
        answer=pair.answer,
        against=pair.against,
        unpatched=Outcome.mean([each.unpatched for each in found]),
        source=Outcome.mean([each.source for each in found]),
        grids=tuple(grids),
        window=window,
        noise=noise,
        versions=package_versions(),
        notes=tuple(notes),
    )


def _means(of_draws: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.mean([values[name] for values in of_draws], axis=0) for name in of_draws[0]}
