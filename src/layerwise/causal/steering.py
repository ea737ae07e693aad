"""Steering: a direction is added at a range of strengths, and what the model says is read beside what should not move.

Turner et al. (2023, arXiv:2308.10248); Rimsky et al. (2023, arXiv:2312.06681): directions are differences of means.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from layerwise.capture.edited_generation import generate_side_by_side
from layerwise.causal.asked_prompt import AskedPrompt
from layerwise.causal.outcomes import run_cells
from layerwise.causal.pairs import Asked, ask
from layerwise.causal.spec_cells import cell_of
from layerwise.causal.steered import SideEffect, Steered, Steering
from layerwise.errors import EditError
from layerwise.interventions.along import Add
from layerwise.measures.uncertainty import estimate, per_item
from layerwise.questions.question import Question
from layerwise.tracing.model import Model
from layerwise.tracing.prepared_request import make_ready
from layerwise.tracing.request import Answered, Prompt, Request
from layerwise.tracing.trace import Trace
from layerwise.types import Progress
from layerwise.versions import package_versions

STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)


def steer(
    model: Model,
    prompt: Prompt,
    directions: Add | Sequence[Add],
    answer: Answered | None = None,
    against: Answered | None = None,
    *,
    strengths: Sequence[float] = STRENGTHS,
    generate: int = 16,
    placebos: int = 1,
    unrelated: Sequence[Question] = (),
    limit: int = 30,
    chat: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Steering:
    """Return what a model says while a direction is added to its states, at each of some strengths.

    Args:
        model: what `layerwise.load` returns.
        prompt: as for `Model.trace`.
        directions: what is added, and where; several are swept one after another, such as one for each layer. Each
            strength is times that of the edit itself.
        answer: what the direction should make likelier, or less likely; by default what the model says by itself.
        against: another answer, for a difference of logits.
        strengths: in the direction's own unit (`Add.strength`).
        generate: how many tokens the model goes on with at each strength.
        placebos: random directions, as long, beside each.
        unrelated: questions that should not be touched: of those that the model answers, how many it still does.
        limit: how many of these are asked for at most.
        chat: put the prompt into the model's chat template.
        seed: of placebos and intervals.
        progress: called with (what, done, total).

    Raises:
        PromptError, EditError, LensError: as for a trace under the edit.
        CheckError: the model's numbers did not pass the checks.
    """
    swept = [directions] if isinstance(directions, Add) else list(directions)
    if not swept or not strengths or not np.isfinite(strengths).all() or placebos < 0 or generate < 1:
        raise EditError(
            "Steering takes at least one direction, finite strengths, a token to generate, and placebos or none; "
            f"got {len(swept)} directions, strengths {[*strengths]}, {generate} tokens and {placebos} placebos."
        )
    edits = [
        replace(each, strength=each.strength * float(strength), placebo=None if drawn == 0 else seed + drawn)
        for each in swept
        for strength in strengths
        for drawn in range(placebos + 1)
    ]
    if answer is None:
        [[trace]] = model.trace_all([Request(prompt, chat=chat)], progress=progress)
        answer = (trace.output[0].id,)
    asks = Request.between(prompt, answer, against, chat=chat)
    with model.computing() as loaded:
        requests = [asks, *(replace(asks, edits=(str(each),)) for each in edits)]
        [clean, *steered] = make_ready(loaded, requests, progress)
        model.expect_checked([clean.ids], progress)
        asked_for = AskedPrompt.of(clean)
        cells = [cell_of(each.edits) for each in steered]
        read = run_cells(loaded, asked_for.ids, cells, None, (asked_for.answer, asked_for.against), progress=progress)
        every = [(), *(each.edits for each in steered)]
        made = generate_side_by_side(loaded, clean.ids, generate, every, progress)
        said = [loaded.tokenizer.decode(each) for each in made]
    rows = tuple(
        Steered(
            edit=str(edit),
            site=edit.site,
            strength=edit.strength,
            placebo=edit.placebo,
            logit_difference=None if against is None else float(read.of_cells["logit_difference"][at]),
            answer_logprob=float(read.of_cells["answer_logprob"][at]),
            answer_rank=int(read.of_cells["answer_rank"][at]),
            kl_bits=float(read.of_cells["kl_from_unpatched_bits"][at]),
            generated=said[at + 1],
        )
        for at, edit in enumerate(edits)
    )
    asked = ask(model, unrelated, limit, progress=progress) if unrelated else Asked(0, {})
    return Steering(
        model=model.info,
        prompt=clean.text,
        answer=asked_for.answer,
        against=asked_for.against,
        unsteered=read.unpatched,
        goes_on=said[0],
        rows=rows,
        asked=asked.count,
        known=len(asked.known),
        side_effects=tuple(_side_effects(model, asked, edits, seed, progress)) if asked.known else (),
        seed=seed,
        versions=package_versions(),
    )


def _side_effects(
    model: Model, asked: Asked, edits: Sequence[Add], seed: int, progress: Progress | None
) -> list[SideEffect]:
    """Return what each edit does to questions that the model answers."""
    questions = list(asked.known)
    items = [each.item for each in questions]
    before = [_prob(asked.known[each][0]) for each in questions]
    found: list[SideEffect] = []
    for number, edit in enumerate(edits):
        if progress:
            progress("unrelated questions under each strength", number, len(edits))
        requests = [replace(Request.about(each), edits=(str(edit),)) for each in questions]
        traces = [trace for [trace] in model.trace_all(requests)]
        known = np.array([float(trace.answer is not None and trace.answer.known) for trace in traces])
        moved = np.array([_prob(trace) - was for trace, was in zip(traces, before, strict=True)])
        found.append(
            SideEffect(
                edit.site,
                edit.strength,
                edit.placebo,
                still_known=estimate(per_item(known, items).values, "mean", seed=seed),
                prob_change=estimate(per_item(moved, items).values, "mean", seed=seed),
            )
        )
    return found


def _prob(trace: Trace) -> float:
    return float(np.exp(trace.answer_logprob[-1]))
