"""A run's tables, read the way in which the published figures ask for them."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from layerwise.lens_spec import LOGIT
from layerwise.reference.agreement import Tolerance, log_odds, up_to

Row = dict[str, Any]


@dataclass(frozen=True)
class Match:
    """Which of our tokens a published text stands for."""

    text: str
    prob: float
    note: str = ""


@dataclass(frozen=True)
class Listed:
    """A readout's likeliest tokens, as (text, probability), best first."""

    tokens: tuple[tuple[str, float], ...]

    def find(self, text: str, prob: float, *, spaces_lost: bool = False) -> Match | None:
        """Return the token that was published as `text` with about `prob`, or None if it is not listed.

        The very same text comes first, then the same but for white space at the ends. Where a model's
        texts are known to have lost that (`spaces_lost`), the likeliest of those comes first. Texts that
        were lost altogether (white space alone, half a character) can stand for several tokens; of these
        the one nearest in probability is taken.
        """
        if lost := _what_was_lost(text):
            alike = [each for each in self.tokens if _what_was_lost(each[0]) == lost]
            if not alike:
                return None
            nearest = min(alike, key=lambda each: abs(log_odds(each[1]) - log_odds(prob)))
            return Match(*nearest, note=f"published as {lost}; the nearest such token was taken")
        alike = [each for each in self.tokens if each[0].strip() == text.strip()]
        same = [] if spaces_lost else [each for each in alike if each[0] == text]
        if same or not alike:
            return Match(*same[0]) if same else None
        note = "" if alike[0][0] == text else "matched without the white space at its ends"
        return Match(*alike[0], note=note)

    @property
    def best(self) -> tuple[str, float]:
        """The likeliest token."""
        return self.tokens[0]

    @property
    def floor(self) -> float:
        """The smallest probability listed: whatever is not listed has less."""
        return self.tokens[-1][1]


@dataclass(frozen=True)
class Layer:
    """The lens at one layer after the prompt's last token."""

    listed: Listed
    entropy_bits: float
    kl_to_final_bits: float
    answer_prob: float
    """Of the run's own answer, NaN if it has none."""
    answer_rank: float

    def listed_with(self, word: str) -> Listed:
        """Return the listed tokens, and below them the run's own answer if that is the word and not listed."""
        if self.listed.find(word, 1.0, spaces_lost=True) or not self.answer_prob < self.listed.floor:
            return self.listed
        return Listed((*self.listed.tokens, (word, self.answer_prob)))

    def prob_of(self, word: str) -> float:
        """Return the probability of a word, or 0 if it is neither listed nor the run's answer."""
        found = self.listed.find(word, 1.0, spaces_lost=True)
        return found.prob if found else self.answer_prob if not math.isnan(self.answer_prob) else 0.0

    def rank_of(self, word: str) -> int | None:
        """Return a word's rank, or None if it is neither listed nor the run's answer."""
        found = self.listed.find(word, 1.0, spaces_lost=True)
        if found:
            return 1 + sum(prob > found.prob for _, prob in self.listed.tokens)
        return None if math.isnan(self.answer_rank) else int(self.answer_rank)

    def lead_of(self, word: str) -> float:
        """Return log(p(word) / p(likeliest other token)): above 0 where the word has rank 1."""
        found = self.listed.find(word, 1.0, spaces_lost=True)
        if found is None:
            return math.log(max(self.prob_of(word), 1e-12)) - math.log(self.listed.best[1])
        others = [prob for text, prob in self.listed.tokens if text != found.text]
        return math.log(max(found.prob, 1e-12)) - math.log(max([*others, 1e-12]))


class Measured:
    """One model of a run: its outputs and its lens, by prompt. Rows as in the run's tables."""

    def __init__(self, questions: list[Row], layers: list[Row]):
        self._questions = questions
        self._layers = layers

    @property
    def names(self) -> tuple[str, str]:
        """The model as it was asked for, and where it came from."""
        return str(self._questions[0]["model"]), str(self._questions[0]["location"])

    @property
    def n_layers(self) -> int:
        """How many blocks the model has."""
        return int(self._questions[0]["n_layers"])

    def tolerances(self, published_dtype: str = "float32") -> tuple[Tolerance, ...]:
        """Return what may be asked of this run: up to its own dtype, if `questions` has that column."""
        return up_to(self._questions[0].get("dtype"), published_dtype)

    def output(self, prompt: str) -> Listed | None:
        """Return the model's own output after a prompt, or None if the run has none."""
        return next((found for row in self._asked(prompt) if (found := _listed(row["output"]))), None)

    def output_at(self, prompt: str, temperature: float) -> Listed | None:
        """Return the model's own output at a temperature, or None if the run did not ask for it."""
        for row in self._asked(prompt):
            for each in _entries(row["temperatures"]):
                if math.isclose(each["temperature"], temperature):
                    return _listed(each["top"])
        return None

    def lens(self, prompt: str, word: str) -> dict[int, Layer]:
        """Return the logit lens after a prompt's last token, by blocks done; empty if the run has none.

        The run's own answer is used only where it is `word`.
        """
        question = next((row for row in self._asked(prompt) if row["lens"] == LOGIT.name), None)
        if question is None:
            return {}
        read = [row for row in self._layers if row["question"] == question["question"] and row["lens"] == LOGIT.name]
        answer = question["answer"]
        is_word = isinstance(answer, str) and answer.strip() == word.strip()
        return {
            int(row["layer"]): Layer(
                listed,
                _number(row["entropy_bits"]),
                _number(row["kl_to_final_bits"]),
                _number(row["answer_prob"]) if is_word else math.nan,
                _number(row["answer_rank"]) if is_word else math.nan,
            )
            for row in read
            if (listed := _listed(row["top"]))
        }

    def _asked(self, prompt: str) -> list[Row]:
        return [row for row in self._questions if row["prompt"] == prompt]


def models_of(questions: pd.DataFrame, layers: pd.DataFrame) -> list[Measured]:
    """Return the models of a run, in the order in which they were asked."""
    asked, read = _by_model(questions), _by_model(layers)
    return [Measured(rows, read.get(model, [])) for model, rows in asked.items()]


def _by_model(frame: pd.DataFrame) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for values in frame.itertuples(index=False, name=None):
        row = dict(zip(frame.columns, values, strict=True))
        found.setdefault(row["model"], []).append(row)
    return found


def _listed(tokens: Any) -> Listed | None:
    found = tuple((str(each["text"]), float(each["prob"])) for each in _entries(tokens))
    return Listed(tuple(sorted(found, key=lambda each: -each[1]))) if found else None


def _entries(cell: Any) -> Iterable[Mapping[str, Any]]:
    """Return a nested cell's records: a list, an array (from Parquet), or nothing at all."""
    return () if cell is None or isinstance(cell, float) else cell


def _number(cell: Any) -> float:
    return math.nan if cell is None or pd.isna(cell) else float(cell)


def _what_was_lost(text: str) -> str | None:
    """Return what kind of text was lost, so that the token can't be told by it."""
    if "�" in text or "\\x" in text:  # `Tokenizer.text_of` writes the bytes of half characters as \xe2
        return "half a character"
    return None if text.strip() else "white space"
