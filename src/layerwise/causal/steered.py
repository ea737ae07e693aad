"""What steering found: at each strength what the model says, and what became of unrelated questions."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from layerwise.causal.outcomes import Outcome
from layerwise.causal.written import Written, plain_outcome
from layerwise.measures.uncertainty import Estimate
from layerwise.text import one_line, visible
from layerwise.types import ModelInfo, Token

if TYPE_CHECKING:
    import pandas

    from layerwise import charts

FORMAT = "layerwise steering 1"


@dataclass(frozen=True)
class Steered:
    """What the model says at one strength."""

    edit: str
    """As it is written: a trace under it is this run."""
    site: str
    strength: float
    placebo: int | None
    """Of a random direction in its place the seed; None for the direction itself."""
    logit_difference: float | None
    """Of the two answers' deciding tokens; None where there is one answer."""
    answer_logprob: float
    answer_rank: int
    kl_bits: float
    """KL(unsteered ‖ steered) of the next token."""
    generated: str
    """What the model goes on with, always its likeliest token."""


@dataclass(frozen=True)
class SideEffect:
    """What one strength does to questions that it should not touch, of those that the model answers by itself."""

    site: str
    strength: float
    placebo: int | None
    still_known: Estimate | None
    """The share that it still answers; over items."""
    prob_change: Estimate | None
    """Of the whole answer's probability, mean over items."""


@dataclass(frozen=True)
class Steering(Written):
    """What `layerwise.steer` returns."""

    model: ModelInfo
    prompt: str
    answer: Token
    """Its deciding token."""
    against: Token | None
    unsteered: Outcome
    goes_on: str
    """What the model writes unsteered."""
    rows: tuple[Steered, ...]
    asked: int
    """Unrelated questions, until enough were known."""
    known: int
    side_effects: tuple[SideEffect, ...]
    """In the order of `rows`; none without unrelated questions."""
    seed: int
    versions: dict[str, str]

    def to_frame(self) -> "pandas.DataFrame":
        """Return a row per direction, strength and placebo, with side effects beside it."""
        import pandas as pd

        frame = pd.DataFrame([asdict(row) for row in self.rows])
        for name in ("still_known", "prob_change") if self.side_effects else ():
            found = [getattr(each, name) for each in self.side_effects]
            frame[name] = [each.value if each else None for each in found]
        return frame

    def plot(self) -> "charts.AnyChart":
        """Return the answer's log-probability by strength, a line for each site, with the placebos' beside it."""
        import pandas as pd

        from layerwise import charts

        frame = self.to_frame()
        kinds = ["direction" if row.placebo is None else "placebo" for row in self.rows]
        lines = frame.assign(
            line=[f"{one_line(site)}, {kind}" for site, kind in zip(frame["site"], kinds, strict=True)]
        )
        means = pd.DataFrame(lines.groupby(["line", "strength"], sort=False, as_index=False)[["answer_logprob"]].mean())
        return charts.lines(
            means,
            x="strength",
            y="answer_logprob",
            colour="line",
            x_title="strength",
            y_title=f"log-probability of {visible(self.answer.text)}",
            title=f"{one_line(self.model.name, limit=40)}: {one_line(self.prompt, limit=40)}",
        )

    def figures(self) -> "dict[str, charts.AnyChart]":
        """Return the figure of `plot`."""
        return {"strengths": self.plot()}

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"format": FORMAT, **asdict(self), "unsteered": plain_outcome(self.unsteered)}
