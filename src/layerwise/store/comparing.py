"""The same questions put to two models: layer by layer, where do their predictions part?

For one model from two files (two quantisations, two precisions), or for any two that share a
tokenizer and a number of layers.
"""

import math
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from layerwise.errors import StoreError
from layerwise.lens_spec import LOGIT
from layerwise.measures.divergence import least_kl_bits
from layerwise.store.run import Run

_Row = dict[str, Any]
_Pair = tuple[_Row, _Row]


@dataclass(frozen=True)
class Side:
    """One model of a stored run."""

    run: Run
    model: str


@dataclass(frozen=True)
class LayerComparison:
    """Two models at one layer, over all questions that both answered."""

    layer: int
    questions: int
    median_kl_bits: float
    """Of KL(first ‖ second), at least: from the likeliest tokens that the runs kept."""
    largest_kl_bits: float
    largest_question: str
    """The question with that divergence."""
    same_top: float
    """Share of questions with the same likeliest token."""
    entropy_change_bits: float
    """Median of the second's entropy minus the first's."""
    answers: int
    """Questions with an answer."""
    same_rank: float | None
    """Share of those in which the answer's rank is the same; None without answers."""
    largest_rank_change: int | None
    """Largest change of the answer's rank, second minus first; None without answers."""


def sides(runs: list[Run]) -> tuple[Side, Side]:
    """Return the two models to compare: the only ones of two runs, or both of one.

    Raises:
        StoreError: there are more or fewer than two.
    """
    found = [Side(run, model) for run in runs for model in run.models]
    if len(found) != 2:
        names = ", ".join(f"{side.model} ({side.run.path})" for side in found)
        raise StoreError(
            f"Expected two models to compare, in one run or in two runs of one each; got {len(found)}: {names}. "
            "Run the study with one of them each: layerwise run STUDY --model NAME --out FOLDER."
        )
    return found[0], found[1]


def compare(first: Side, second: Side, lens: str = LOGIT.name) -> list[LayerComparison]:
    """Return the comparison at every layer, of the last position of the questions that both sides answered.

    Raises:
        StoreError: the sides have no question in common, tokenize them differently, or differ in depth.
    """
    pairs = _paired(_layers(first, lens), _layers(second, lens), first, second)
    by_layer: dict[int, list[_Pair]] = {}
    for pair in pairs:
        by_layer.setdefault(pair[0]["layer"], []).append(pair)
    return [_at_layer(layer, some) for layer, some in sorted(by_layer.items())]


def _layers(side: Side, lens: str) -> dict[tuple[str, int], _Row]:
    """Return the rows of the last prompt position by question and layer, with the prompt's token ids."""
    questions, layers = (
        [row for row in table.to_dict("records") if row["model"] == side.model and row["lens"] == lens]
        for table in (side.run.questions(), side.run.layers())
    )
    if not layers:
        raise StoreError(f"{side.run.path} has nothing of {side.model} through the {lens} lens.")
    ids = {row["question"]: [token["id"] for token in row["tokens"]] for row in questions}
    return {(row["question"], row["layer"]): row | {"ids": ids[row["question"]]} for row in layers}


def _paired(
    first: dict[tuple[str, int], _Row], second: dict[tuple[str, int], _Row], one: Side, other: Side
) -> list[_Pair]:
    common = {question for question, _ in first} & {question for question, _ in second}
    if not common:
        raise StoreError(f"{one.run.path} and {other.run.path} have no question in common, so nothing can be compared.")
    if differing := sorted(q for q in common if first[q, 0]["ids"] != second[q, 0]["ids"]):
        raise StoreError(
            f"{one.model} and {other.model} turn {len(differing)} of {len(common)} questions into different tokens "
            f"({differing[0]}), so their distributions are over different vocabularies. Compare models with the same "
            "tokenizer."
        )
    depths = [max(layer for _, layer in side) for side in (first, second)]
    if depths[0] != depths[1]:
        raise StoreError(
            f"{one.model} has {depths[0]} layers and {other.model} has {depths[1]}: there is no layer-by-layer "
            "correspondence. Compare models of the same depth."
        )
    return [(row, second[place]) for place, row in first.items() if place in second]


def _at_layer(layer: int, pairs: list[_Pair]) -> LayerComparison:
    divergences = [least_kl_bits(_known(one), _known(other)) for one, other in pairs]
    largest = max(range(len(pairs)), key=lambda index: divergences[index])
    ranks = [(one["answer_rank"], other["answer_rank"]) for one, other in pairs]
    changes = [int(b - a) for a, b in ranks if not (math.isnan(a) or math.isnan(b))]
    return LayerComparison(
        layer=layer,
        questions=len(pairs),
        median_kl_bits=median(divergences),
        largest_kl_bits=divergences[largest],
        largest_question=pairs[largest][0]["question"],
        same_top=mean(one["top"][0]["id"] == other["top"][0]["id"] for one, other in pairs),
        entropy_change_bits=median(other["entropy_bits"] - one["entropy_bits"] for one, other in pairs),
        answers=len(changes),
        same_rank=mean(change == 0 for change in changes) if changes else None,
        largest_rank_change=max(changes, key=abs) if changes else None,
    )


def _known(row: _Row) -> dict[int, float]:
    return {token["id"]: token["prob"] for token in row["top"]}
