"""The questions of a study's own, each read by itself: its row of the stored run, and its layers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from layerwise.analysis.checked import largest_errors
from layerwise.errors import StoreError
from layerwise.lens_spec import fitted_beside
from layerwise.questions.answers import Answer
from layerwise.store.run import Run
from layerwise.store.tables import by_layer, without_curves
from layerwise.text import visible
from layerwise.tracing.answer_sentences import answer_label, decides_first
from layerwise.types import ModelInfo, Token, TokenProb

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Case:
    """One model on one question through one lens, read after the prompt's last token."""

    row: dict[str, Any]
    """The case's row of the questions table."""
    layers: pd.DataFrame
    """Its rows of the layers table, one per layer, 0 to n."""

    @property
    def model(self) -> str:
        return self.row["model"]

    @property
    def question(self) -> str:
        return self.row["question"]

    @property
    def n_layers(self) -> int:
        return int(self.row["n_layers"])

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The acceptable answers; none where none was declared."""
        return stored_answers(self.row["answers"])

    def answer(self, show: Callable[[str], str] = visible) -> str:
        """Return what the answer's rank and probability are about, ready to show."""
        return answer_label(self.answers, show)

    @property
    def answer_ids(self) -> set[int]:
        """Tokens that are the answer where they lead after the prompt; none if it is decided later."""
        return {a.deciding_token.id for a in self.answers} if decides_first(self.answers) else set()

    @property
    def leaders(self) -> list[TokenProb]:
        """The likeliest token at every layer."""
        return [TokenProb(**top[0]) for top in self.layers["top"]]

    @property
    def output(self) -> list[TokenProb]:
        """The model's own likeliest next tokens."""
        return [TokenProb(**token) for token in self.row["output"]]

    @property
    def followed_ids(self) -> set[int]:
        return {token["id"] for token in self.layers["tracked"].iloc[0]}

    def milestone(self, name: str) -> int | None:
        """Return a milestone's layer, or None for never."""
        value = self.row[name]
        return None if pd.isna(value) else int(value)


class OwnQuestions:
    """What a run's models made of the questions of the study's own, by model and question."""

    def __init__(self, run: Run, lens: str):
        self.run = run
        self.lens = lens
        """The lens that findings are told from."""

    @cached_property
    def _table(self) -> "pa.Table":
        from pyarrow.compute import field

        return self.run.table().filter(field("set") == "")

    @cached_property
    def _rows(self) -> pd.DataFrame:
        return without_curves(self._table)

    @cached_property
    def _layers(self) -> pd.DataFrame:
        return by_layer(self._table)

    @property
    def questions(self) -> list[dict[str, Any]]:
        """As the study has them."""
        return self.run.study["questions"]

    @property
    def lenses(self) -> list[str]:
        return self.run.study["lenses"]

    @property
    def fitted_lenses(self) -> list[str]:
        """The fitted ones beside the lens that findings are told from."""
        return fitted_beside(self.lenses)

    @cached_property
    def models(self) -> dict[str, ModelInfo]:
        """In the study's order, those of which every question was read through every lens."""
        if not self.questions:
            return {}
        known, asked = self.run.models, len(self.questions) * len(self.lenses)
        read = self._rows["model"].value_counts()
        return {name: known[name] for name in self.run.study["models"] if name in known and read.get(name) == asked}

    def asked(self, role: str) -> list[dict[str, Any]]:
        """Return the study's questions of a role, in its order."""
        return [question for question in self.questions if question["role"] == role]

    def case(self, model: str, question: str, lens: str | None = None) -> Case:
        """Return what a model made of a question. Raises StoreError where no shard has it."""
        lens = lens or self.lens
        rows, layers = self._rows, self._layers
        wanted = "model == @model and lens == @lens and question == @question"
        found, mine = rows.query(wanted), layers.query(wanted)
        if found.empty:
            raise StoreError(
                f"{self.run.path / 'manifest.json'} asks the question {question!r}, but no shard has it of {model} "
                f"through the {lens} lens: the manifest was changed. Put it back, or run the study again."
            )
        row = {key: _plain(value) for key, value in found.iloc[0].items()}
        return Case(row, mine.reset_index(drop=True))

    @cached_property
    def checks(self) -> pd.DataFrame:
        """Per model, the largest error that any check of these questions found."""
        return largest_errors(self._rows)


def stored_answers(stored: Iterable[dict[str, Any]]) -> tuple[Answer, ...]:
    """Return a question's accepted forms from the store's column `answers`."""
    return tuple(
        Answer(each["text"], tuple(Token(**token) for token in each["tokens"]), int(each["deciding_index"]))
        for each in stored
    )


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and pd.isna(value) else value
