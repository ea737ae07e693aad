"""What a trace says of its answer, in sentences."""

import math
from collections.abc import Callable, Sequence

from layerwise.lens_spec import ends_at_output
from layerwise.questions.answers import Answer
from layerwise.text import probability, visible
from layerwise.tracing.trace import Trace


def answer_label(answers: Sequence[Answer], show: Callable[[str], str] = visible) -> str:
    """Return what an answer's rank and probability are about: ``␣Berlin``, or ``4 after ␣``.

    The latter where tokens of the answer come before the one that decides. Of a set, all are named.
    """
    labels = []
    for answer in answers:
        before = "".join(token.text for token in answer.tokens[: answer.deciding_index])
        labels.append(show(answer.deciding_token.text) + (f" after {show(before)}" if before else ""))
    return " or ".join(dict.fromkeys(labels))


def decides_first(answers: Sequence[Answer]) -> bool:
    """Return whether every answer is decided by its first token, hence after the prompt itself."""
    return all(answer.deciding_index == 0 for answer in answers)


def answer_sentence(trace: Trace) -> str | None:
    """Return from where the answer leads, and its whole probability; None if there is no answer."""
    if trace.answer is None:
        return None
    settled, n = trace.milestones.settled_top1, trace.n_layers
    leads = f"leads from layer {settled} of {n} on" if settled is not None else "does not lead at the last layer"
    where = "the output" if ends_at_output(trace.lens) else f"layer {n} of the {trace.lens} lens"
    whole = probability(math.exp(trace.answer.logprob[-1]))
    return f"{_name(trace.answer.answers)} {leads}; whole answer at {where}: p = {whole}"


def _name(answers: Sequence[Answer]) -> str:
    """Return what leads or does not, with the whole answer where that goes on after its deciding token."""
    label = answer_label(answers)
    goes_on = len(answers) == 1 and answers[0].deciding_index < len(answers[0].tokens) - 1
    return f"{label} of {visible(answers[0].text)}" if goes_on else label


def spelling_hint(trace: Trace) -> str | None:
    """Return a question whether a space before the answer was forgotten; None unless the model says it with one.

    Most tokenizers write a word within a text with the space before it, and the word alone is another token.
    """
    answers = trace.answer.answers if trace.answer else ()
    for answer in answers:
        if answer.text[:1].isspace():
            continue
        spaced = f" {answer.text}"
        for rank, token in enumerate(trace.output, start=1):
            meant = token.text.strip() and spaced.startswith(token.text) and token.text.startswith(" ")
            if meant and trace.answer and trace.answer.first_token_rank[-1] > rank:
                return (
                    f"The answer {visible(answer.text)} has no space before it, and {visible(token.text)} has rank "
                    f"{rank} in the output: was {visible(spaced)} meant?"
                )
    return None
