"""What a run of a few prompts cannot show, said with the run's own numbers."""

from layerwise.report.material import Material
from layerwise.text import for_markdown


def limits_of_one_prompt(material: Material) -> list[str]:
    """Return sentences in Markdown about how far the findings reach."""
    return [
        *_how_many(material),
        *_wording(material),
        *_inner_peak(material),
        *_norm(material),
        *_never_seen(material),
    ]


def _how_many(material: Material) -> list[str]:
    prompts = len(material.run.study["questions"])
    return [
        f"**One fact, {prompts} prompts.** These are readings of single prompts, not statistics: there is no interval "
        "and no control, and nothing here says how other facts behave."
    ]


def _wording(material: Material) -> list[str]:
    """Say how much the settled layer and the output depend on the wording."""
    said = []
    for model in material.models:
        cases = [material.case(model, q["id"]) for q in material.run.study["questions"] if q["answers"]]
        settled = [case.milestone("settled_top1") for case in cases]
        reached = sum(layer is not None for layer in settled)
        probs = [float(case.layers["answer_prob"].iloc[-1]) for case in cases]
        depths = [
            f"{layer / case.n_layers:.0%}" for layer, case in zip(settled, cases, strict=True) if layer is not None
        ]
        where = f", at {', '.join(depths)} of depth" if depths else ""
        said.append(
            f"**Wording matters for {for_markdown(model)}.** The expected answer settles on {reached} of {len(cases)} "
            f"prompts{where}; its output probability runs from {min(probs):.3f} to {max(probs):.3f}. A layer or a "
            "direction (city to country, country to city) read off one wording is a finding about that wording."
        )
    return said


def _inner_peak(material: Material) -> list[str]:
    """Say in how many cases an inner layer is surer than the output, and why that proves little."""
    asked = [question["id"] for question in material.run.study["questions"] if question["answers"]]
    cases = [material.case(model, question) for model in material.models for question in asked]
    surer = sum(case.layers["answer_prob"].max() > case.layers["answer_prob"].iloc[-1] for case in cases)
    return [
        f"**Inner confidence.** In {surer} of {len(cases)} cases some inner layer gives the answer more probability "
        "than the output does. A maximum over layers is biased upward: it is shown, not tested. A test needs a layer "
        "that was chosen on other questions."
    ]


def _norm(material: Material) -> list[str]:
    """Say how far raw and logit lens are apart."""
    if "raw" not in material.lenses or "logit" not in material.lenses:
        return []
    said = []
    for model in material.models:
        kls = [
            material.case(model, q["id"], "raw").layers["kl_from_logit_lens_bits"].median()
            for q in material.asked("main")
        ]
        said.append(f"{for_markdown(model)} {', '.join(f'{kl:,.1f}' for kl in kls)}")
    return [
        "**The final norm matters.** Without it the readout is another distribution: median over layers of "
        f"KL(logit lens ‖ raw lens) in bits, per main prompt: {'; '.join(said)}. Beware of numbers read without it."
    ]


def _never_seen(material: Material) -> list[str]:
    """Warn where the lens shows the answer at the last layers only."""
    late = []
    for model in material.models:
        for question in material.asked("main"):
            case = material.case(model, question["id"])
            settled = case.milestone("settled_top1")
            if case.answer is not None and settled == case.n_layers:
                late.append(f"{for_markdown(model)} ({for_markdown(str(case.row['prompt']))})")
    if not late:
        return []
    return [
        f"**Seen only at the output.** {'; '.join(late)}: the logit lens shows the answer at no inner layer. That does "
        "not mean that the answer is not there, only that the model's own head cannot read it there."
    ]
