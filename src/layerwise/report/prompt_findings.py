"""What a run shows, in sentences made from its numbers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from layerwise.analysis.own_questions import Case, OwnQuestions
from layerwise.lens_spec import LOGIT, ends_at_output
from layerwise.measures.milestones import stretches
from layerwise.report.escaping import code_span
from layerwise.text import one_line, probability, visible

Show = Callable[[str], str]
"""Makes a token's text ready for where the sentence will stand."""


@dataclass(frozen=True)
class Finding:
    """One sentence about one model and one prompt."""

    model: str
    plain: str
    """For the terminal."""
    markdown: str


def findings(own: OwnQuestions) -> list[Finding]:
    """Return what each model made of each main question, in the study's order; through fitted lenses too."""
    return [
        _finding(own.case(model, question["id"], lens), named)
        for model in own.models
        for question in own.asked("main")
        for lens, named in _named(own)
    ]


def _named(own: OwnQuestions) -> list[tuple[str, str]]:
    """Return the lenses that findings are told from, and what is said of each: nothing of the model's own head."""
    return [(own.lens, "" if own.lens == LOGIT.name else f" ({own.lens} lens)")] + [
        (lens, f" ({lens} lens)") for lens in own.fitted_lenses
    ]


def _finding(case: Case, lens: str) -> Finding:
    prompt = str(case.row["prompt"])
    return Finding(
        case.model,
        f"{one_line(case.model)}, “{one_line(prompt)}”{lens}: {sentence(case, visible)}",
        f"**{code_span(case.model)}**, {code_span(prompt)}{lens}: "
        + sentence(case, lambda text: code_span(visible(text))),
    )


def sentence(case: Case, show: Show) -> str:
    """Return who leads before the answer, where the answer settles, and its peak against the last layer."""
    if not case.answers:
        return f"the output is {show(case.output[0].text)} ({probability(case.output[0].prob)})."
    settled, n = case.milestone("settled_top1"), case.n_layers
    answer, probs = case.answer(show), case.layers["answer_prob"].to_numpy()
    if settled is None:
        rank, first = int(case.layers["answer_rank"].iloc[-1]), case.milestone("first_top1")
        led = f"leads first at layer {first}, but not at the end" if first is not None else "never leads"
        return (
            f"{answer} {led}; the output is {show(case.output[0].text)} ({probability(case.output[0].prob)}), "
            f"and {answer} ends at rank {rank:,} ({probability(probs[-1])})."
        )
    before = _leader_before(case, settled)
    detour = f"{show(before[0])} leads at layers {before[1]}–{before[2]}, " if before else ""
    peak, last = int(np.argmax(probs)), "the output" if ends_at_output(case.row["lens"]) else f"layer {n}"
    against = (
        f"p peaks at layer {peak} with {probability(probs[peak])}, and {last} has {probability(probs[-1])}"
        if peak < n
        else f"p is highest at {last}, {probability(probs[-1])}"
    )
    return f"{detour}{answer} settles at {settled} of {n}; {against}."


def _leader_before(case: Case, settled: int) -> tuple[str, int, int] | None:
    """Return the token that led right before the answer settled, if for two layers or more."""
    if settled < 2 or not case.answer_ids:  # an answer decided later is read at another position
        return None
    leaders = case.leaders[:settled]
    token, first, last = stretches(np.array([leader.id for leader in leaders]))[-1]
    text = next(leader.text for leader in leaders if leader.id == token)
    return (text, first, last) if last > first else None
