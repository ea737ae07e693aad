"""Claims judged: estimates beside the regions that were fixed before the run."""

from collections.abc import Mapping
from dataclasses import dataclass

from layerwise.analysis.cases import Cases
from layerwise.analysis.estimators import ESTIMATORS, NotEstimableError
from layerwise.measures.claims import Region, Verdict, verdict
from layerwise.measures.uncertainty import Estimate, estimate
from layerwise.studies.claim_files import Claim
from layerwise.text import one_line

SEED = 0
"""Of every bootstrap."""

_DEPTHS = {"settled_depth"}
"""Estimators of depths, whose regions a layer can widen."""


@dataclass(frozen=True)
class Judgement:
    """What a model's numbers say of a claim."""

    claim: Claim
    model: str
    region: Region
    """As claimed, widened by layers where the claim says so."""
    estimate: Estimate | None
    verdict: Verdict
    missing: str | None
    """Why nothing could be judged."""
    sets: tuple[str, ...]
    """Of which the questions are."""
    inner_layers: tuple[int, ...] = ()
    """Those that were chosen on other items, where the estimator reads an inner layer."""

    @property
    def plain(self) -> str:
        """The verdict in a line, for the terminal."""
        found = self.missing
        if (e := self.estimate) is not None:
            value, low, high = (self._shown(end) for end in (e.value, e.low, e.high))
            found = f"{value} [{low}, {high}], {e.n} items"
        return f"{one_line(self.model)}, “{one_line(self.claim.sentence)}”: {self.verdict} ({found})"

    @property
    def in_depths(self) -> bool:
        """Whether values of the estimate are depths, of which one beyond 1 is never reached."""
        return self.claim.estimator in _DEPTHS

    def _shown(self, value: float) -> str:
        return "never" if self.in_depths and value > 1 else f"{value:.3f}"


def judge(claim: Claim, by_lens: Mapping[str, Cases]) -> Judgement:
    """Return what one model's questions, through each lens, say of a claim."""
    chosen = {lens: _about(claim, cases) for lens, cases in by_lens.items()}
    some = next(iter(chosen.values()))
    region = Region.parse(claim.region)
    if claim.estimator in _DEPTHS:
        region = region.widened(claim.widened_by_layers / some.n_layers)
    sets = tuple(dict.fromkeys(some.rows["set"]))

    def judged(found: Estimate | None, missing: str | None, layers: tuple[int, ...] = ()) -> Judgement:
        return Judgement(claim, some.model, region, found, verdict(found, region), missing, sets, layers)

    if absent := _absent(claim, by_lens):
        return judged(None, absent)
    try:
        sample = ESTIMATORS[claim.estimator](chosen, tuple(claim.directions))
    except NotEstimableError as error:
        return judged(None, str(error))
    n = len(sample.values.items)
    if n < claim.least_items:
        which = "known items" if claim.over == "known" else "items"
        which += " in both directions" if claim.estimator == "direction_difference" else ""
        return judged(None, f"{n} {which}, and at least {claim.least_items} are needed")
    return judged(estimate(sample.values.values, sample.statistic, seed=SEED), None, sample.layers)


def _absent(claim: Claim, by_lens: Mapping[str, Cases]) -> str | None:
    """Return what the claim names and the model was not asked, or None."""
    for what, named in (("set", claim.sets), ("direction", claim.directions)):
        there = {name for cases in by_lens.values() for name in cases.rows[what]}
        for name in named:
            if name not in there:
                return f"no questions of the {what} {name}"
    return None


def _about(claim: Claim, cases: Cases) -> Cases:
    """Return the questions that a claim is about."""
    mask = cases.rows["known"].to_numpy(dtype=bool) if claim.over == "known" else cases.rows["known"].notna().to_numpy()
    if claim.sets:
        mask = mask & cases.rows["set"].isin(claim.sets).to_numpy()
    if claim.directions:
        mask = mask & cases.rows["direction"].isin(claim.directions).to_numpy()
    return cases.where(mask)
