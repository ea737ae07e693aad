"""`compare`: every published figure that a run has a counterpart to, and what came of it.

A file of figures is one function below; each says which prompt it is about and yields findings.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from layerwise.reference import published as pub
from layerwise.reference.agreement import log_odds
from layerwise.reference.figure_judge import Judge, fault, known_wrong, missing, number
from layerwise.reference.findings import Finding, ModelComparison
from layerwise.reference.insights import insight_findings
from layerwise.reference.measured import Layer, Measured, models_of

ANSWER = " Berlin"

_Mark = Callable[..., Finding]
"""Returns a finding as it is, or as known to be wrong."""

NO_SOFT_CAP = (
    "the published lens left out Gemma's soft-cap, 30·tanh(z/30), so its probabilities are far too sure; "
    "top tokens and ranks are not touched by that"
)
WRONG_GAIN = "the published lens read inner layers through the next block's norm gain instead of the final norm's"
GIVES_OUTPUT = "a correct lens gives the model's own output at the last layer, published as .790732"


def compare(questions: pd.DataFrame, layers: pd.DataFrame) -> list[ModelComparison]:
    """Return, for each model of a run, every published figure beside the run's own.

    Args:
        questions: one row per model, lens and question: `model`, `location`, `n_layers`, `lens`, `question`,
            `prompt`, `answer`, `output` (tokens), `temperatures` (each with its `top` tokens). With a
            column `dtype`, numbers are held to what that dtype can do; without it, to bfloat16 at most.
        layers: one row per model, lens, question and layer (blocks done): `top` (tokens),
            `entropy_bits`, `kl_to_final_bits`, `answer_prob`, `answer_rank`, after the prompt.

    Prompts are matched by their whole text, tokens by text (published without ids). Only the logit lens
    has published figures.
    """
    return [_compare_model(each) for each in models_of(questions, layers)]


def _compare_model(run: Measured) -> ModelComparison:
    model = run.names[0]
    name = pub.published_name(*run.names)
    have = pub.published_models()
    if name is None:
        return ModelComparison(
            model,
            None,
            note=f"Nothing was published about this model. There are figures for {', '.join(have)}.",
        )
    if run.n_layers != have[name]:
        note = (
            f"Called as the published {name}, but with {run.n_layers} layers where that has {have[name]}: "
            "another model, so nothing was compared."
        )
        return ModelComparison(model, None, note=note)
    return ModelComparison(model, name, tuple(_findings(run, name)))


def _findings(run: Measured, name: str) -> Iterator[Finding]:
    for part in (
        _dense_lens,
        _sampled_lens,
        _outputs,
        _temperatures,
        _probes,
        _later_probes,
        _canonical_lens,
        _latest_lens,
        insight_findings,
    ):
        yield from part(run, name)


def _dense_lens(run: Measured, name: str) -> Iterator[Finding]:
    rows = pub.rows(pub.DENSE, name)
    if not rows:
        return
    lens = run.lens(pub.SEED_PROMPT, ANSWER)
    if not lens:
        yield missing(pub.DENSE, pub.SEED_PROMPT, rows, lens=True)
        return
    judge = _judge(run, name, pub.DENSE)
    wrong = _soft_cap_fault(name)
    for row in rows:
        k = int(row["blocks_done"])
        layer = lens.get(k)
        yield judge.top_token(k, row["top1_token"], row["top1_prob"], layer)
        lead = judge.prob(f"layer {k}", row["top1_token"], row["top1_prob"], layer and layer.listed)
        yield wrong(lead, GIVES_OUTPUT if k == run.n_layers else "")
        yield wrong(judge.entropy(f"at layer {k}", row["entropy_bits"], layer and layer.entropy_bits))
        if row["answer_rank_top20"] > 1:  # False for NaN; rank 1 is the top token's own row
            yield judge.rank(k, ANSWER, int(row["answer_rank_top20"]), layer)
            listed = layer and layer.listed_with(ANSWER)
            yield wrong(judge.prob(f"layer {k}", ANSWER, row["p_answer_top20"], listed))
    at_rank_1 = min(int(row["blocks_done"]) for row in rows if row["answer_rank_top20"] == 1)
    probs = {int(row["blocks_done"]): row["p_answer_top20"] for row in rows}
    yield from _first_layers(judge, wrong, at_rank_1, probs, lens)


def _canonical_lens(run: Measured, name: str) -> Iterator[Finding]:
    rows = pub.rows(pub.CANONICAL, name)
    if not rows:
        return
    lens = run.lens(pub.LATER_PROMPT, ANSWER)
    if not lens:
        yield missing(pub.CANONICAL, pub.LATER_PROMPT, rows, lens=True)
        return
    judge = _judge(run, name, pub.CANONICAL)
    wrong = _soft_cap_fault(name)
    for row in rows:
        k = int(row["layer"])
        layer = lens.get(k)
        yield judge.top_token(k, row["top1_token"], row["top1_prob"], layer)
        yield wrong(judge.prob(f"layer {k}", row["top1_token"], row["top1_prob"], layer and layer.listed))
        yield wrong(judge.entropy(f"at layer {k}", row["entropy_bits_asreported"], layer and layer.entropy_bits))
    at_rank_1 = min(int(row["layer"]) for row in rows if row["is_answer"])
    probs = {int(row["layer"]): row["p_answer"] for row in rows}
    yield from _first_layers(judge, wrong, at_rank_1, probs, lens)


def _first_layers(
    judge: Judge, wrong: _Mark, at_rank_1: int, probs: dict[int, float], lens: dict[int, Layer]
) -> Iterator[Finding]:
    """Yield the layers at which Berlin first has rank 1 and first exceeds .5 and .95.

    Only layers that were published (those of `probs`) count: `dense` never showed the state after one block.
    """
    shown = {k: layer for k, layer in lens.items() if k in probs}
    leads = {k: layer.lead_of(ANSWER) for k, layer in shown.items()}
    yield judge.first("first layer with Berlin at rank 1", at_rank_1, leads)
    for threshold in (0.5, 0.95):
        above = [k for k, prob in probs.items() if prob > threshold]
        if above:
            excess = {k: log_odds(layer.prob_of(ANSWER)) - log_odds(threshold) for k, layer in shown.items()}
            yield wrong(judge.first(f"first layer with p(Berlin) > {number(threshold)}", min(above), excess))


def _sampled_lens(run: Measured, name: str) -> Iterator[Finding]:
    rows = pub.rows(pub.SEED, name)
    if not rows:
        return
    lens = run.lens(pub.SEED_PROMPT, ANSWER)
    if not lens:
        yield missing(pub.SEED, pub.SEED_PROMPT, rows, lens=True)
        return
    judge = _judge(run, name, pub.SEED)
    wrong = _soft_cap_fault(name)
    for row in rows:
        k = pub.blocks_done(int(row["layer"]))
        layer = lens.get(k)
        yield wrong(judge.prob(f"layer {k}", row["token"], row["prob"], layer and layer.listed))


def _outputs(run: Measured, name: str) -> Iterator[Finding]:
    rows = pub.rows(pub.SEED_OUTPUT, name)
    if not rows:
        return
    output = run.output(pub.SEED_PROMPT)
    if output is None:
        yield missing(pub.SEED_OUTPUT, pub.SEED_PROMPT, rows)
        return
    judge = _judge(run, name, pub.SEED_OUTPUT)
    for row in rows:
        yield judge.prob("output", row["token"], row["prob"], output)


def _temperatures(run: Measured, name: str) -> Iterator[Finding]:
    judge = _judge(run, name, pub.SEED_TEMPERATURE)
    for temperature, rows in _grouped(pub.rows(pub.SEED_TEMPERATURE, name), "temperature").items():
        output = run.output_at(pub.SEED_PROMPT, temperature)
        where = f"output at temperature {temperature:g}"
        if output is None:
            yield missing(pub.SEED_TEMPERATURE, pub.SEED_PROMPT, rows, figure=where)
            continue
        for row in rows:
            yield judge.prob(where, row["token"], row["prob"], output, temperature=temperature)


def _probes(run: Measured, name: str) -> Iterator[Finding]:
    yield from _by_prompt(run, name, pub.SEED_PROBES)


def _later_probes(run: Measured, name: str) -> Iterator[Finding]:
    yield from _by_prompt(run, name, pub.LATER_PROBES)


def _by_prompt(run: Measured, name: str, source: str) -> Iterator[Finding]:
    """Yield the outputs after each published prompt; the prompts that the run lacks come as one finding."""
    judge = _judge(run, name, source)
    lacking: dict[str, list[pub.Row]] = {}
    for prompt, rows in _grouped(pub.rows(source, name), "prompt").items():
        output = run.output(prompt)
        if output is None:
            lacking[prompt] = rows
            continue
        for row in rows:
            yield judge.prob(f"output after “{prompt}”", row["token"], row["prob"], output)
        last = run.lens(prompt, ANSWER).get(run.n_layers)
        if last and "output_entropy_bits" in rows[0]:  # a correct lens gives the output at the last layer
            entropy = rows[0]["output_entropy_bits"]
            yield judge.entropy(f"of the output after “{prompt}”", entropy, last.entropy_bits)
    if lacking:
        figure = f"outputs after {len(lacking)} other prompt{'s' if len(lacking) > 1 else ''}"
        yield missing(source, " · ".join(lacking), [row for rows in lacking.values() for row in rows], figure=figure)


def _grouped(rows: list[pub.Row], column: str) -> dict[Any, list[pub.Row]]:
    """Return rows by what they have in a column, in the order of the table."""
    found: dict[Any, list[pub.Row]] = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    return found


def _latest_lens(run: Measured, name: str) -> Iterator[Finding]:
    """Yield the summary of the wrongly scaled lens; only the model's own output in it is right."""
    summary = pub.rows(pub.LATEST_SUMMARY, name)
    row = summary[0]
    output = run.output(pub.LATER_PROMPT)
    if output is None:
        yield missing(pub.LATEST_SUMMARY, pub.LATER_PROMPT, summary)
        yield missing(pub.LATEST, pub.LATER_PROMPT, pub.rows(pub.LATEST, name), lens=True)
        return
    judge = replace(_judge(run, name, pub.LATEST_SUMMARY), allowed=run.tolerances(row["dtype"]), spaces_lost=True)
    yield judge.prob("output", ANSWER, row["p_answer_final"], output)
    lens = run.lens(pub.LATER_PROMPT, ANSWER)
    if not lens:
        yield missing(pub.LATEST, pub.LATER_PROMPT, pub.rows(pub.LATEST, name), lens=True)
        return
    last = lens.get(run.n_layers)
    # The output's entropy is that of a correct lens at the last layer.
    yield judge.entropy("of the output", row["entropy_final_bits"], last and last.entropy_bits)
    for figure, column, ours in _latest_milestones(lens):
        if not math.isnan(row[column]):
            published = int(row[column])
            same = "; the run has the same layer" if ours == published else ""
            yield known_wrong(
                Finding(figure, pub.LATEST_SUMMARY, published, ours, "", "known wrong"), WRONG_GAIN + same
            )
    at_last = judge.prob(f"layer {run.n_layers}", ANSWER, row["p_answer_lens_last"], last and last.listed)
    yield _soft_cap_fault(name)(at_last)
    figure = f"p, entropy and divergence at layers 0 to {run.n_layers - 1}"
    yield Finding(figure, pub.LATEST, f"{run.n_layers} layers", None, "", "known wrong", WRONG_GAIN)


def _latest_milestones(lens: dict[int, Layer]) -> Iterator[tuple[str, str, int | None]]:
    """Yield figure, published column, and our layer."""
    ranks = {k: lens[k].rank_of(ANSWER) for k in sorted(lens)}
    for at_most, column in ((1, "L_semantic"), (5, "first_rank_le_5"), (10, "first_rank_le_10")):
        ours = next((k for k, rank in ranks.items() if rank is not None and rank <= at_most), None)
        yield f"first layer with Berlin at rank {at_most} or better", column, ours
    for below, column in ((1.0, "first_kl_below_1"), (0.5, "first_kl_below_0p5")):
        ours = next((k for k in ranks if lens[k].kl_to_final_bits < below), None)
        yield f"first layer with KL to the output below {below:g} (bits)", column, ours


def _judge(run: Measured, name: str, source: str) -> Judge:
    return Judge(source, run.tolerances(), spaces_lost=pub.lost_spaces(name))


def _soft_cap_fault(name: str) -> _Mark:
    """Return what makes a finding *known wrong* if the model's published lens left out its soft-cap."""
    return fault(NO_SOFT_CAP) if pub.lacks_soft_cap(name) else lambda finding, *_: finding
