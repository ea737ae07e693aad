"""The figures of a report, each from the run's tables."""

from collections.abc import Iterable, Sequence

import pandas as pd

from layerwise import charts
from layerwise.analysis.own_questions import Case, OwnQuestions
from layerwise.text import one_line

_DEPTH, _LAYER = "depth (layer / number of layers)", "layer (blocks done)"


def leading_tokens(case: Case) -> charts.AnyChart:
    """Return which token leads at each layer, with the answer's probability."""
    frame = charts.leading_frame(
        case.leaders,
        case.answer_ids,
        case.followed_ids,
        case.layers["answer_prob"].tolist() if case.answers else None,
    )
    return charts.leading_tokens(frame, one_line(case.model), _subtitle(case))


def answer_by_depth(own: OwnQuestions, question: str) -> charts.AnyChart:
    """Return the answer's probability by depth, one line per model."""
    cases = [own.case(model, question) for model in own.models]
    frame = pd.concat(
        pd.DataFrame({"depth": c.layers["depth"], "p": c.layers["answer_prob"], "model": one_line(c.model)})
        for c in cases
    )
    return charts.lines(
        frame,
        x="depth",
        y="p",
        colour="model",
        x_title=_DEPTH,
        y_title="probability of the answer",
        title=one_line(str(cases[0].row["prompt"])),
        y_domain=(0, 1),
    )


def answer_rank(cases: Sequence[Case]) -> charts.AnyChart:
    """Return the answer's rank by layer, for a case through each of some lenses."""
    frame = pd.concat(
        pd.DataFrame({"layer": c.layers["layer"], "rank": c.layers["answer_rank"], "lens": f"{c.row['lens']} lens"})
        for c in cases
    )
    return charts.lines(
        frame,
        x="layer",
        y="rank",
        colour="lens",
        x_title=_LAYER,
        y_title=f"rank of {cases[0].answer()}",
        title=f"{one_line(cases[0].model)}: the answer's rank by lens",
        log_rank=True,
    )


def entropy_and_kl(case: Case) -> charts.AnyChart:
    """Return entropy and both divergences from the output by layer, in bits."""
    named = {
        "entropy": "entropy_bits",
        "KL(layer ‖ output)": "kl_to_final_bits",
        "KL(output ‖ layer)": "kl_from_final_bits",
    }
    # The embedding layer of tied models echoes the prompt: its divergence would dwarf all others.
    shown = case.layers.query("layer >= 1")
    return charts.lines(
        _long(shown, named.items()),
        x="layer",
        y="bits",
        colour="measure",
        x_title=_LAYER,
        y_title="bits",
        title=f"{one_line(case.model)}: uncertainty, and distance from the output (from layer 1 on)",
    )


def _subtitle(case: Case) -> list[str]:
    prompt = one_line(str(case.row["prompt"]))
    return [prompt, f"dashed: probability of {case.answer()}"] if case.answers else [prompt]


def _long(frame: pd.DataFrame, named: Iterable[tuple[str, str]]) -> pd.DataFrame:
    return pd.concat(
        pd.DataFrame({"layer": frame["layer"], "bits": frame[column], "measure": name}) for name, column in named
    )
