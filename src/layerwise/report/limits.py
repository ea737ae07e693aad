"""What a run of a few prompts cannot show, said with the run's own numbers."""

from layerwise.analysis.cases import is_random
from layerwise.analysis.own_questions import Case, OwnQuestions
from layerwise.lens_spec import LOGIT, RAW, caveat_of
from layerwise.report.escaping import code_span
from layerwise.report.rendering import counted
from layerwise.text import probability


def limits(own: OwnQuestions) -> list[str]:
    """Return sentences in Markdown about how far the findings reach."""
    prompts = len(own.questions)
    return [
        f"**{prompts} prompt{'s' if prompts > 1 else ''}, read one by one.** There is no interval and no control here: "
        "these are readings, not statistics, and they say nothing about other facts.",
        *(_from_prompt_to_prompt(model, cases) for model, cases in _answered(own) if len(cases) > 1),
        *_inner_peak(own),
        *_norm(own),
        *_fitted(own),
        *_never_seen(own),
    ]


def _answered(own: OwnQuestions) -> list[tuple[str, list[Case]]]:
    """Return each model with its cases that have an answer."""
    asked = [question["id"] for question in own.questions if question["answers"]]
    return [(model, [own.case(model, question) for question in asked]) for model in own.models]


def _without_controls(own: OwnQuestions) -> tuple[list[tuple[str, list[Case]]], str]:
    """Return the models with their answered cases but for random weights, and a note where some were left out.

    Where all have random weights, those are what the study is about.
    """
    answered = _answered(own)
    trained = [(model, cases) for model, cases in answered if not is_random(model)]
    if not trained or len(trained) == len(answered):
        return answered, ""
    return trained, " (controls with random weights left out)"


def _from_prompt_to_prompt(model: str, cases: list[Case]) -> str:
    """Say how much the settled layer and the last layer's probability depend on the prompt."""
    settled = [(case, case.milestone("settled_top1")) for case in cases]
    depths = [f"{layer / case.n_layers:.0%}" for case, layer in settled if layer is not None]
    where = f", at {', '.join(depths)} of depth" if depths else ""
    probs = [float(case.layers["answer_prob"].iloc[-1]) for case in cases]
    return (
        f"**From prompt to prompt, {code_span(model)}.** The expected answer settles on {len(depths)} of "
        f"{len(cases)} prompts{where}; its probability at the last layer runs from {probability(min(probs))} to "
        f"{probability(max(probs))}. Where prompts word one fact differently, a layer or a direction that is read off "
        "one of them is a finding about its wording."
    )


def _inner_peak(own: OwnQuestions) -> list[str]:
    """Say in how many cases an inner layer is more certain than the last, and why that proves little."""
    answered, note = _without_controls(own)
    cases = [case for _, cases in answered for case in cases]
    if not cases:
        return []
    higher = sum(case.layers["answer_prob"].max() > case.layers["answer_prob"].iloc[-1] for case in cases)
    return [
        f"**Inner confidence.** In {higher} of {counted(len(cases), 'case')}{note} some inner layer gives the answer "
        "more probability than the last does. A maximum over layers is biased upward: it is shown, not tested. A test "
        "needs a layer that was chosen on other questions."
    ]


def _norm(own: OwnQuestions) -> list[str]:
    """Say how far raw and logit lens are apart."""
    main = [question["id"] for question in own.asked("main")]
    if not {RAW.name, LOGIT.name} <= set(own.lenses) or not main:
        return []
    said = []
    for model in own.models:
        apart = [own.case(model, question, RAW.name).layers["kl_from_logit_lens_bits"].median() for question in main]
        said.append(f"{code_span(model)} {', '.join(f'{bits:,.1f}' for bits in apart)}")
    return [
        "**With and without the final norm.** Median over layers of KL(logit lens ‖ raw lens) in bits, per main "
        f"prompt: {'; '.join(said)}. Numbers read with one say little about the other."
    ]


def _fitted(own: OwnQuestions) -> list[str]:
    """Say what fitted lenses do not show."""
    return [f"**Fitted lenses.** {caveat}" for lens in own.fitted_lenses if (caveat := caveat_of(lens))]


def _never_seen(own: OwnQuestions) -> list[str]:
    """Warn where the answer leads at the last layer only."""
    late = [
        f"{code_span(model)} ({code_span(str(case.row['prompt']))})"
        for model, cases in _without_controls(own)[0]
        for case in cases
        if case.milestone("first_top1") == case.n_layers
    ]
    if not late:
        return []
    return [
        f"**Leads at the output only.** {'; '.join(late)}: the answer leads at no inner layer. That does not mean "
        "that it is not there, only that the model's own head does not read it first there."
    ]
