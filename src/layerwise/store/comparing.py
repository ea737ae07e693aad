"""The same questions put to two models: layer by layer, where do their predictions part?

For one model from two files (two quantisations, two precisions), or for any two that share a
tokenizer and a number of layers.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerwise.errors import StoreError
from layerwise.measures.divergence import least_kl_bits
from layerwise.store.run import Run

if TYPE_CHECKING:
    import pandas as pd


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


def compare(first: Side, second: Side, lens: str = "logit") -> list[LayerComparison]:
    """Return the comparison at every layer, of the last position of the questions that both sides answered.

    Raises:
        StoreError: the sides have no question in common, tokenize them differently, or differ in depth.
    """
    layers = _paired(_layers(first, lens), _layers(second, lens), first, second)
    return [_at_layer(int(layer), rows) for layer, rows in layers.groupby("layer")]  # type: ignore[call-overload]


def _layers(side: Side, lens: str) -> "pd.DataFrame":
    """Return the rows of the last prompt position of every question."""
    rows, questions = side.run.layers(), side.run.questions()
    rows = rows[(rows.model == side.model) & (rows.lens == lens)]
    if rows.empty:
        raise StoreError(f"{side.run.path} has nothing of {side.model} through the {lens} lens.")
    questions = questions[(questions.model == side.model) & (questions.lens == lens)]
    tokens = {row.question: tuple(token["id"] for token in row.tokens) for row in questions.itertuples()}
    rows = rows.assign(tokens=rows.question.map(tokens))
    return rows[rows.position == rows.tokens.map(len) - 1]


def _paired(first: "pd.DataFrame", second: "pd.DataFrame", one: Side, other: Side) -> "pd.DataFrame":
    common = set(first.question) & set(second.question)
    if not common:
        raise StoreError(f"{one.run.path} and {other.run.path} have no question in common, so nothing can be compared.")
    pairs = first.merge(second, on=["question", "layer"], suffixes=("_first", "_second"))
    if other_tokens := sorted(set(pairs[pairs.tokens_first != pairs.tokens_second].question)):
        raise StoreError(
            f"{one.model} and {other.model} turn {len(other_tokens)} of {len(common)} questions into different tokens "
            f"({other_tokens[0]}), so their distributions are over different vocabularies. Compare models with the "
            "same tokenizer."
        )
    depths = [int(side.layer.max()) for side in (first, second)]
    if depths[0] != depths[1]:
        raise StoreError(
            f"{one.model} has {depths[0]} layers and {other.model} has {depths[1]}: there is no layer-by-layer "
            "correspondence. Compare models of the same depth."
        )
    return pairs


def _at_layer(layer: int, rows: "pd.DataFrame") -> LayerComparison:
    kl = rows.apply(lambda row: least_kl_bits(_known(row.top_first), _known(row.top_second)), axis=1)
    worst = kl.idxmax()
    answered = rows[rows.answer_rank_first.notna() & rows.answer_rank_second.notna()]
    change = answered.answer_rank_second - answered.answer_rank_first
    return LayerComparison(
        layer=layer,
        questions=len(rows),
        median_kl_bits=float(kl.median()),
        largest_kl_bits=float(kl[worst]),
        largest_question=str(rows.question[worst]),
        same_top=float(rows.apply(lambda row: row.top_first[0]["id"] == row.top_second[0]["id"], axis=1).mean()),
        entropy_change_bits=float((rows.entropy_bits_second - rows.entropy_bits_first).median()),
        answers=len(answered),
        same_rank=float((change == 0).mean()) if len(answered) else None,
        largest_rank_change=int(change.loc[change.abs().idxmax()]) if len(answered) else None,
    )


def _known(top: list[dict[str, float]]) -> dict[int, float]:
    return {int(token["id"]): float(token["prob"]) for token in top}
