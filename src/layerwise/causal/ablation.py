"""Knockout: what becomes of an answer when a component is taken out, or an edge of attention cut, one after another.

Components' values give way to zeros, a mean or another prompt's, as in the edits of a trace. Edges are cut in a window
of blocks around each (Geva et al. 2023, arXiv:2304.14767), beside as many others that are drawn at random.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from layerwise.causal.ablated import EDGES, LOGIT_DIFFERENCE, MEASURES, PROBABILITY, Ablation, AblationGrid
from layerwise.causal.ablation_plans import Plan, PlannedCells, plan_components, plan_edges
from layerwise.causal.asked_prompt import AskedPrompt
from layerwise.causal.edges import Edge, edges_of, usual_window
from layerwise.causal.outcomes import Read, run_cells
from layerwise.causal.spec_cells import cells_of
from layerwise.errors import EditError, PromptError
from layerwise.sites import KINDS
from layerwise.tracing.model import Model
from layerwise.tracing.prepared_request import prepare
from layerwise.tracing.request import Answered, Prompt, Request
from layerwise.types import Progress
from layerwise.versions import package_versions

WAYS = ("zero", "mean", "resample")
"""What takes a component's place."""

USUAL_KINDS = ("attn_out", "mlp_out")


def ablate(
    model: Model,
    prompt: Prompt,
    answer: Answered,
    against: Answered | None = None,
    *,
    kinds: str | Sequence[str] = (),
    by: str = "zero",
    over: str | Sequence[str] = (),
    edges: str | Sequence[str] = (),
    spans: Mapping[str, str] | None = None,
    window: int | None = None,
    draws: int = 5,
    seed: int = 0,
    chat: bool = False,
    chat_args: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Ablation:
    """Return what becomes of the prediction without each component, or each edge of attention.

    A cell takes out a site of one block at one position (of ``z`` and other kinds with heads: one head, at all
    positions), or cuts an edge in blocks around one. It is what a trace says under the same edit
    (`AblationGrid.edits`). Cells run side by side, each only from the layer and position on that it changes.

    Args:
        model: what `layerwise.load` returns.
        prompt: what is asked.
        answer: its answer, usually with a leading space.
        against: another answer: then the effect is the difference of their logits, and else the answer's probability,
            relative to what it is without edits.
        kinds: kinds of site to take out: ``attn_out`` and ``mlp_out`` (without edges the default), ``z`` (heads),
            ``resid_pre`` (the whole stream), or another of `Site`.
        by: what takes their place: ``zero``, ``mean`` over other prompts' positions, or ``resample``: what one of those
            has that is drawn. Zeros are values that the model never has: what it does then may be owed to that.
        over: the other prompts; their first positions are left out.
        edges: edges to cut, ``FROM:TO`` each, names of spans: queries in TO do not see keys in FROM.
        spans: by name, the text of each in the prompt. ``first``, ``last`` and ``rest`` are there without.
        window: how many consecutive blocks are changed at once, with the row's in the middle: 1 of components, a fifth
            of all for edges by default.
        draws: how often is drawn: what a resampling takes, and placebos of edges, as many keys that are in neither
            span.
        seed: of the draws.
        chat: put the prompt, and others, into the model's chat template.
        chat_args: arguments of the chat template.
        progress: called with (what, done, total).

    Raises:
        PromptError: the prompt, an answer or a span cannot be used, or there is no such kind.
        EditError: there is no such way, other prompts are missing, or an edge cuts nothing.
        UnsupportedModelError: the architecture lacks a kind of site.
        CheckError: the model's numbers did not pass the checks.
    """
    written = (edges,) if isinstance(edges, str) else tuple(edges)
    others = (over,) if isinstance(over, str) else tuple(over)
    asked = (kinds,) if isinstance(kinds, str) else tuple(dict.fromkeys(kinds))
    asked = asked or (() if written else USUAL_KINDS)
    _expect_fitting(asked, by, others, written, spans or {}, window, draws)
    asks = Request.between(prompt, answer, against, chat=chat, chat_args=dict(chat_args or {}))
    with model.computing() as loaded:
        prepared = prepare(loaded, asks)
        model.expect_checked([prepared.ids], progress)
        read = AskedPrompt.of(prepared)
        cut = edges_of(loaded.tokenizer, prepared.ids, len(read.ids), written, spans or {})
        plans = [plan_components(loaded, kind, read.ids, by, others, window or 1, draws, seed) for kind in asked]
        if cut:
            plans.append(plan_edges(loaded, cut, window or usual_window(loaded.n_layers), draws, seed))
        every = [specs for plan in plans for cells in (*plan.draws, *plan.placebos) for specs in cells.values()]
        cells = cells_of(loaded, replace(asks, wrong=None), read.ids, every, progress)
        said = run_cells(loaded, read.ids, cells, None, (read.answer, read.against), progress=progress)
        effect = LOGIT_DIFFERENCE if read.against else PROBABILITY
        return Ablation(
            model=loaded.info,
            effect=effect,
            prompt=loaded.tokenizer.tokens(read.ids),
            answer=read.answer,
            against=read.against,
            by=by,
            over=others,
            spans={each.keys_of: each.keys for each in cut} | {each.queries_of: each.queries for each in cut},
            unedited=said.unpatched,
            grids=tuple(_grids(plans, said, effect)),
            draws=draws,
            seed=seed,
            versions=package_versions(),
            notes=tuple(_notes(plans, cut)),
        )


def _expect_fitting(
    kinds: Sequence[str],
    by: str,
    over: Sequence[str],
    edges: Sequence[str],
    spans: Mapping[str, str],
    window: int | None,
    draws: int,
) -> None:
    """Stop at what cannot be asked for. Raises PromptError, EditError."""
    possible = [kind for kind in KINDS if kind != EDGES]
    if unknown := [kind for kind in kinds if kind not in possible]:
        raise PromptError(
            f"{unknown[0]!r} is no kind of site that can be taken out: expected {', '.join(possible)}. Attention is "
            "cut in edges between spans: --cut FROM:TO (edges=…)."
        )
    if by not in WAYS:
        raise EditError(f"Expected one of {', '.join(WAYS)} to take a component's place; got {by!r}.")
    if (by == "zero") == bool(over):
        raise EditError(
            "Zeros are of no other prompts. Take their mean, or resample from them: --by mean (by='mean')."
            if over
            else f"A {by} is of other prompts, and there are none: give each with --over (over=…)."
        )
    if spans and not edges:
        raise EditError(f"The span {next(iter(spans))!r} is in no edge: cut one with --cut {next(iter(spans))}:last.")
    if (window is not None and window < 1) or draws < 1:
        raise EditError(f"A window has at least one block, and there is at least one draw; got {window} and {draws}.")


def _grids(plans: Sequence[Plan], said: Read, effect: str) -> list[AblationGrid]:
    """Return what cells said, one grid's after another's."""
    first = 0
    grids: list[AblationGrid] = []
    measured = _measured(said, effect)

    def taken(plan: Plan, drawn: Sequence[PlannedCells]) -> dict[str, Float[np.ndarray, "draw row column"]]:
        nonlocal first
        found = {name: np.full((len(drawn), len(plan.blocks), len(plan.columns)), np.nan) for name in measured}
        for draw, cells in enumerate(drawn):
            if cells:
                rows, columns = np.array([*cells]).T
                for name, values in measured.items():
                    found[name][draw, rows, columns] = values[first : first + len(cells)]
                first += len(cells)
        return found

    for plan in plans:
        values, other = taken(plan, plan.draws), taken(plan, plan.placebos)
        changed = "logit_difference_change" if effect == LOGIT_DIFFERENCE else "probability_change"
        change, spread = _over_draws(values[changed])
        placebo, placebo_spread = _over_draws(other[changed]) if plan.placebos else (None, None)
        grids.append(
            AblationGrid(
                kind=plan.kind,
                column=plan.column,
                blocks=plan.blocks,
                columns=plan.columns,
                window=plan.window,
                values={name: _over_draws(each)[0] for name, each in values.items()},
                change=change,
                spread=spread if len(plan.draws) > 1 else None,
                placebo=placebo,
                placebo_spread=placebo_spread,
                edits=plan.draws[0],
            )
        )
    return grids


def _measured(said: Read, effect: str) -> dict[str, Float[np.ndarray, " cell"]]:
    """Return the measures of cells: what they say, and how that changed from the unedited run."""
    found = {**said.of_cells, "kl_from_unedited_bits": said.of_cells["kl_from_unpatched_bits"]}
    found["logit_difference_change"] = found["logit_difference"] - said.of_text["logit_difference"]
    found["logprob_change"] = found["answer_logprob"] - said.of_text["answer_logprob"]
    found["probability_change"] = np.expm1(found["logprob_change"])
    return {name: found[name] for name in MEASURES if effect == LOGIT_DIFFERENCE or "logit" not in name}


def _over_draws(
    values: Float[np.ndarray, "draw row column"],
) -> tuple[Float[np.ndarray, "row column"], Float[np.ndarray, "row column"]]:
    """Return the mean and the standard deviation over those draws that are there; NaN where there are too few."""
    there = np.isfinite(values)
    count = there.sum(axis=0)
    mean = np.where(count, np.where(there, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
    squares = np.where(there, (values - mean) ** 2, 0).sum(axis=0)
    return mean, np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)


def _notes(plans: Sequence[Plan], edges: Sequence[Edge]) -> list[str]:
    """Return what is missing, in sentences."""
    drawn = {column for plan in plans for cells in plan.placebos for _, column in cells}
    return [
        f"{edge} has no placebo: fewer than {len(edge.keys)} positions are before its last query, in neither span, and "
        "not the first."
        for column, edge in enumerate(edges)
        if column not in drawn
    ]
