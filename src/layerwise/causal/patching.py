"""Patch grids: one run's values put into another, at one place after another, all of them side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from layerwise.capture.site_values import resolve_sites
from layerwise.causal.approximation import MIN_EXACT
from layerwise.causal.attribution import Attribution
from layerwise.causal.draws import Draw, DrawFound, joined, run_exactly
from layerwise.causal.grid import Patching, SubjectNoise
from layerwise.causal.planning import GridPlan
from layerwise.causal.prompt_pair import PromptPair
from layerwise.causal.sources import last_site, moved_at_random, noises_on_embeddings, remembered_values
from layerwise.errors import EditError, PromptError
from layerwise.sites import KINDS
from layerwise.tracing.model import Model
from layerwise.tracing.prepared_request import prepare
from layerwise.tracing.request import Answered, Prompt, Request
from layerwise.types import Progress

DIRECTIONS = ("denoise", "noise")


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
    approximate: bool = False,
    exact_cells: int = 32,
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
        seed: of the placebo's directions, and of which cells are run exactly.
        only_effect: of cells read the difference of the answers' logits alone, and no ranks or distances: of a large
            vocabulary that takes a fraction of the time.
        approximate: approximate the whole grid to first order, from one pass forwards and one back (attribution
            patching): what a cell moves the effect by is its gradient times how far the patch moves the values. Each
            grid's `approximation` says how far off it is, and where it is bad, a note. Of cells the effect alone is
            known.
        exact_cells: so many cells of each kind, drawn by chance and spread over the blocks, are run exactly all the
            same, to say that; all, where there are fewer.
        progress: called with (what, done, total).

    Raises:
        PromptError: the prompts cannot be aligned, the answers coincide, one does not fit the other prompt, or nothing
            tells how good an approximation is.
        EditError: there is no such direction or window, noise that is none, or an approximation of several blocks at
            once, of placebos, or without exact cells.
        UnsupportedModelError: the architecture lacks a kind of site; or, for an approximation, derivatives.
        CheckError: the model's numbers did not pass the checks.
    """
    if direction not in DIRECTIONS:
        raise EditError(f"Expected a direction, {' or '.join(DIRECTIONS)}; got {direction!r}.")
    if window < 1:
        raise EditError(f"A window has at least one block; got {window}.")
    if approximate:
        _expect_first_order(window, placebo, exact_cells)
    asked = (kinds,) if isinstance(kinds, str) else tuple(dict.fromkeys(kinds))
    if unknown := [kind for kind in asked if kind not in KINDS or kind == "pattern"]:
        possible = ", ".join(kind for kind in KINDS if kind != "pattern")
        raise PromptError(f"{unknown[0]!r} is no kind of site that can be patched in a grid: expected {possible}.")
    noise = corrupted if isinstance(corrupted, SubjectNoise) else None
    asks = Request.between(clean, answer, against, chat=chat, chat_args=dict(chat_args or {}))
    with model.computing() as loaded:
        prepared = prepare(loaded, asks)
        other = prepared if isinstance(corrupted, SubjectNoise) else prepare(loaded, replace(asks, prompt=corrupted))
        model.expect_checked([prepared.ids, other.ids], progress)
        pair = PromptPair.of(loaded, prepared, other, noise.subject if noise else None, spans)
        denoises = direction == "denoise"
        base, source = (pair.corrupted, pair.clean) if denoises else (pair.clean, pair.corrupted)
        pairs = [(theirs, mine) if denoises else (mine, theirs) for mine, theirs in pair.alignment.pairs]
        sites = {kind: resolve_sites(loaded, kind) for kind in asked}
        every = [site for each in sites.values() for site in each]
        values_of, attribution = remembered_values(loaded, every), Attribution(loaded, pair, every, exact_cells, seed)
        draws = noises_on_embeddings(loaded, pair.subject, noise) if noise and pair.subject else [()]
        plans: list[GridPlan] = []
        found: list[DrawFound] = []
        for number, corruption in enumerate(draws):
            told = progress if len(draws) == 1 else progress and _of_draws(progress, number, len(draws))
            mine, theirs = (corruption, ()) if denoises else ((), corruption)
            values = values_of(source, theirs)
            plans = plans or [
                GridPlan.of(kind, sites[kind], values, pairs, pair.alignment.shared, window) for kind in asked
            ]
            own = values_of(base, mine) if placebo or approximate else {}
            put = [values, *([moved_at_random(own, values, pairs, seed + number)] if placebo else [])]
            draw = Draw(base, mine, own, put, values[last_site(loaded)][-1])
            found.append(
                attribution.run(draw, plans, told)
                if approximate
                else run_exactly(loaded, draw, plans, pair, only_effect, told)
            )
        return joined(loaded, pair, plans, found, direction, noise)


def _expect_first_order(window: int, placebo: bool, exact_cells: int) -> None:
    """Stop where a gradient does not say what is asked, or nothing would say how well it does."""
    if window > 1:
        raise EditError(
            f"Attribution patching takes one block at a time; got a window of {window}. Blocks that are patched "
            "together act through one another, and the gradient of each alone counts that twice. Run the exact grid."
        )
    if placebo:
        raise EditError(
            "Attribution patching has no placebo: what a random direction does as far away as the source is, no "
            "gradient tells. Run the exact grid."
        )
    if exact_cells < MIN_EXACT:
        raise EditError(
            f"At least {MIN_EXACT} cells of each kind are run exactly, or nothing tells how good an approximation is; "
            f"got {exact_cells}."
        )


def _of_draws(progress: Progress, number: int, draws: int) -> Progress:
    return lambda what, done, total: progress(f"draw {number + 1} of {draws}: {what}", done, total)
