"""A stored run as reports and views tell it: what its models made of it, each part computed once, when asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from layerwise.analysis import curves, set_summary, wordings
from layerwise.analysis.cases import Cases, cases_of
from layerwise.analysis.checked import largest_errors
from layerwise.analysis.judging import Judgement, judge
from layerwise.analysis.own_questions import OwnQuestions
from layerwise.errors import StoreError
from layerwise.lens_spec import LOGIT, RAW, main_lens
from layerwise.measures.uncertainty import Estimate
from layerwise.store.run import Run
from layerwise.studies.claim_files import Claim
from layerwise.text import first_fault
from layerwise.tracing.trace import CHECK_FIGURES

_Row = TypeVar("_Row")


@dataclass(frozen=True, eq=False)
class Overview:
    """A run's numbers by what a reader asks: estimates of its question sets, and the study's own questions."""

    run: Run

    @cached_property
    def cases(self) -> list[Cases]:
        return cases_of(self.run)

    @property
    def lens(self) -> str:
        """Through which the models are told of: the logit lens where the study has it."""
        lenses = self.run.study["lenses"]
        return main_lens(lenses)

    @cached_property
    def main(self) -> list[Cases]:
        """The models themselves, through the main lens; where all have random weights, those."""
        return [cases for cases in self._through_main_lens if not cases.random] or self._through_main_lens

    @cached_property
    def random(self) -> list[Cases]:
        """The controls, the same architectures with random weights."""
        return [cases for cases in self._through_main_lens if cases.model not in self.models]

    @cached_property
    def fitted(self) -> list[Cases]:
        """The models through the fitted lenses that the study has beside the main one."""
        return [c for c in self.cases if c.lens in self.fitted_lenses and c.model in self.models]

    @property
    def fitted_lenses(self) -> list[str]:
        return self.own.fitted_lenses

    @cached_property
    def settled_through(self) -> dict[tuple[str, str, str, str], Estimate | None]:
        """Where known answers settle through fitted lenses: by lens, model, set and direction."""
        return {
            (cases.lens, cases.model, *of): depth
            for cases in self.fitted
            for of, depth in set_summary.settled_depths(cases).items()
        }

    @property
    def _through_main_lens(self) -> list[Cases]:
        return [cases for cases in self.cases if cases.lens == self.lens]

    @property
    def models(self) -> list[str]:
        return [cases.model for cases in self.main]

    @cached_property
    def claims(self) -> list[Claim]:
        try:
            return TypeAdapter(list[Claim]).validate_python(self.run.manifest["claims"])
        except ValidationError as error:
            raise StoreError(f"{self.run.path / 'manifest.json'}, claims: {first_fault(error)}.") from error

    @cached_property
    def judgements(self) -> list[Judgement]:
        return [
            judge(claim, {cases.lens: cases for cases in self.cases if cases.model == model})
            for claim in self.claims
            for model in self.models
        ]

    @cached_property
    def cells(self) -> list[set_summary.Cell]:
        """By set and direction, the models of each side by side."""
        return _side_by_side(
            [cell for cases in self.main for cell in set_summary.cells(cases, by_wording=False)],
            lambda cell: (cell.set, cell.direction),
        )

    @cached_property
    def by_wording(self) -> list[set_summary.Cell]:
        return _side_by_side(
            [cell for cases in self.main for cell in set_summary.cells(cases, by_wording=True)],
            lambda cell: (cell.set, cell.direction, cell.wording),
        )

    @cached_property
    def spreads(self) -> list[wordings.Spread]:
        """Where a wording is known far more often than another."""
        return wordings.spreads(self.by_wording)

    @cached_property
    def leading_instead(self) -> dict[tuple[str, str, str, str | None], wordings.Instead]:
        """What leads most often where the answer is not known, by model, set, direction and wording."""
        found = [each for cases in self.main for each in wordings.leading_instead(cases)]
        return {(each.model, each.set, each.direction, each.wording): each for each in found}

    @cached_property
    def comparisons(self) -> list[set_summary.Comparison]:
        return set_summary.comparisons(self.main, self.fitted)

    @cached_property
    def wrong_answers(self) -> list[set_summary.WrongAnswer]:
        rows = [row for cases in self.main for row in set_summary.wrong_answers(cases)]
        return _side_by_side(rows, lambda row: row.set)

    @cached_property
    def random_cells(self) -> list[set_summary.Cell]:
        return [cell for cases in self.random for cell in set_summary.cells(cases, by_wording=False)]

    @cached_property
    def gaps(self) -> list[set_summary.Gap]:
        """Against the model's output, which is the last layer of the logit lens; none without that lens."""
        outputs = {cases.model: cases for cases in self.main if cases.lens == LOGIT.name}
        gaps = [
            gap
            for cases in self.cases
            if cases.model in outputs
            for gap in set_summary.calibration_gaps(cases, outputs[cases.model])
        ]
        return _side_by_side(gaps, lambda gap: (gap.set, gap.lens))

    @cached_property
    def fits(self) -> list[curves.Fit]:
        return [fit for cases in self.main for fit in curves.temperature_fits(cases)]

    @cached_property
    def by_depth(self) -> pd.DataFrame:
        """Points of the answer's probability by depth."""
        return pd.DataFrame([vars(point) for cases in self.main for point in curves.answer_prob_by_depth(cases)])

    @property
    def sets(self) -> list[str]:
        return list(dict.fromkeys(cell.set for cell in self.cells))

    @cached_property
    def own(self) -> OwnQuestions:
        """The questions of the study's own, of which no estimate is made."""
        return OwnQuestions(self.run, self.lens)

    @cached_property
    def refused(self) -> pd.DataFrame:
        """Questions that a model could not be asked, with the reason."""
        table = self.run.table(["model", "lens", "question", "refused"]).to_pandas()
        return table[table["refused"].notna()].drop_duplicates(["model", "question"]).reset_index(drop=True)

    @cached_property
    def checks(self) -> pd.DataFrame:
        """Per model, the largest error that any check found, and on how many prompts the checks ran."""
        return largest_errors(self.run.table(["model", "covered_by", *CHECK_FIGURES]).to_pandas())

    def lens_disagreement(self, model: str) -> float | None:
        """Return the median over questions and layers of KL(logit lens ‖ raw lens) in bits; None without both."""
        by_lens = {cases.lens: cases for cases in self.cases if cases.model == model}
        if not {RAW.name, LOGIT.name} <= set(by_lens):
            return None
        return float(pd.Series(by_lens[RAW.name].curves["kl_from_logit_lens_bits"].ravel()).median())


def _side_by_side(rows: list[_Row], key: Callable[[_Row], object]) -> list[_Row]:
    """Return rows with those of one key after each other; keys and rows in the order in which they came."""
    order = {each: at for at, each in enumerate(dict.fromkeys(map(key, rows)))}
    return sorted(rows, key=lambda row: order[key(row)])
