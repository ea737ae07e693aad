"""What a run shows, in sentences made from its numbers."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from layerwise.measures.milestones import stretches
from layerwise.report.material import Case, Material
from layerwise.store.run import Run
from layerwise.text import for_markdown, one_line, visible

Show = Callable[[str], str]
"""Makes a token's text ready for where the sentence will stand."""


@dataclass(frozen=True)
class Finding:
    """One sentence about one model and one prompt."""

    model: str
    plain: str
    """For the terminal."""
    markdown: str


def findings(run: Run) -> list[Finding]:
    """Return what each model made of each main question, in the study's order."""
    material = Material(run)
    return [
        _finding(material.case(model, question["id"]))
        for model in material.models
        for question in material.asked("main")
    ]


def _finding(case: Case) -> Finding:
    prompt = str(case.row["prompt"])
    return Finding(
        case.model,
        f"{one_line(case.model)}, “{one_line(prompt)}”: {sentence(case, visible)}",
        f"**{for_markdown(case.model)}**, {for_markdown(prompt)}: "
        + sentence(case, lambda text: for_markdown(visible(text))),
    )


def sentence(case: Case, show: Show) -> str:
    """Return who leads before the answer, where the answer settles, and its peak against the output."""
    if case.answer is None:
        return f"the output is {show(case.output[0].text)} ({case.output[0].prob:.3f})."
    settled, n = case.milestone("settled_top1"), case.n_layers
    answer, probs = show(case.answer), case.layers["answer_prob"].to_numpy()
    if settled is None:
        rank = int(case.layers["answer_rank"].iloc[-1])
        first = case.milestone("first_top1")
        led = (
            f"{answer} leads first at layer {first} and loses the lead again"
            if first is not None
            else f"{answer} never leads"
        )
        return (
            f"{led}; the output is {show(case.output[0].text)} ({case.output[0].prob:.3f}), "
            f"with {answer} at rank {rank:,} ({probs[-1]:.3f})."
        )
    before = _leader_before(case, settled)
    detour = f"{show(before[0])} leads at {_layers(before[1], before[2])}, " if before else ""
    peak = int(np.argmax(probs))
    against = (
        f"p peaks at layer {peak} with {probs[peak]:.3f}, and the output has {probs[-1]:.3f}"
        if peak < n
        else f"p is highest at the output, {probs[-1]:.3f}"
    )
    return f"{detour}{answer} settles at {settled} of {n}; {against}."


def _leader_before(case: Case, settled: int) -> tuple[str, int, int] | None:
    """Return the token that led right before the answer settled, if for two layers or more."""
    if settled < 2:
        return None
    leaders = case.leaders[:settled]
    token, first, last = stretches(np.array([leader.id for leader in leaders]))[-1]
    text = next(leader.text for leader in leaders if leader.id == token)
    return (text, first, last) if last > first else None


def _layers(first: int, last: int) -> str:
    return f"layers {first}–{last}"
