"""What a patchscope holds: what a model says of one prompt's states, put into another prompt."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from layerwise.causal.written import Written
from layerwise.errors import PromptError
from layerwise.interventions.specs import Patch
from layerwise.text import one_line, visible
from layerwise.types import ModelInfo, Token, TokenProb

if TYPE_CHECKING:
    import pandas

    from layerwise import charts

FORMAT = "layerwise patchscope 1"


@dataclass(frozen=True)
class Said:
    """What a run of the target says at its end."""

    top: tuple[TokenProb, ...]
    """The likeliest tokens."""
    answer_logprob: float | None
    answer_rank: int | None


@dataclass(frozen=True)
class ScopedState:
    """One state, put into the target."""

    layer: int
    """Of the source prompt that the state is of."""
    to_layer: int
    """Of the target that it is put at."""
    edit: Patch
    """The same, as a trace of the target takes it."""
    said: Said
    elsewhere: Said | None
    """Of the placebo: what the target says of the state of the same layer at another position; none without one."""
    random: Said
    """Of the placebo: what it says of a random direction of the same norm."""
    generated: str | None
    """What the model goes on with, if it was asked to."""


@dataclass(frozen=True, eq=False)
class Patchscope(Written):
    """What a target prompt says of states: what `layerwise.patchscope` returns."""

    model: ModelInfo
    prompt: tuple[Token, ...]
    position: int
    """Of the prompt, whose states are taken."""
    elsewhere: int | None
    """Of the prompt: that whose states are the placebo."""
    target: tuple[Token, ...]
    at: int
    """The target's position whose state is replaced."""
    answer: Token | None
    unpatched: Said
    """What the target says as it is."""
    states: tuple[ScopedState, ...]
    seed: int
    versions: dict[str, str]

    @property
    def is_grid(self) -> bool:
        """Whether a layer's state was put at several layers, or at others than its own."""
        return any(each.layer != each.to_layer for each in self.states)

    def state(self, layer: int, to_layer: int | None = None) -> ScopedState:
        """Return what was said of a layer's state, put at the same layer or another. Raises PromptError."""
        wanted = layer, layer if to_layer is None else to_layer
        for each in self.states:
            if (each.layer, each.to_layer) == wanted:
                return each
        raise PromptError(f"The state at layer {wanted[0]} was not put at layer {wanted[1]}.")

    def to_frame(self) -> "pandas.DataFrame":
        """Return a row per state: both layers, the likeliest token, the answer's numbers, the placebos', the text."""
        import pandas as pd

        def told(said: Said | None, prefix: str = "") -> dict[str, Any]:
            if said is None:
                return {}
            answer = {"answer_logprob": said.answer_logprob, "answer_rank": said.answer_rank} if self.answer else {}
            found = {"token": said.top[0].text, "prob": said.top[0].prob, **answer}
            return {prefix + name: value for name, value in found.items()}

        return pd.DataFrame(
            [
                {"layer": each.layer, "to_layer": each.to_layer, **told(each.said)}
                | told(each.elsewhere, "elsewhere_")
                | told(each.random, "random_")
                | ({} if each.generated is None else {"generated": each.generated})
                for each in self.states
            ]
        )

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {
            "format": FORMAT,
            "model": asdict(self.model),
            "prompt": [asdict(token) for token in self.prompt],
            "position": self.position,
            "elsewhere": self.elsewhere,
            "target": [asdict(token) for token in self.target],
            "at": self.at,
            "answer": asdict(self.answer) if self.answer else None,
            "unpatched": asdict(self.unpatched),
            "states": [{**asdict(each), "edit": str(each.edit)} for each in self.states],
            "seed": self.seed,
            "versions": self.versions,
        }

    def plot(self) -> "charts.AnyChart":
        """Return the likeliest token by layer, with the answer's probability; of a grid a map of both layers."""
        return self._map() if self.is_grid else self._bars()

    def figures(self) -> "dict[str, charts.AnyChart]":
        """Return the one figure."""
        return {"patchscope": self.plot()}

    @property
    def _title(self) -> str:
        token = visible(self.prompt[self.position].text)
        return f"{one_line(self.model.name, limit=40)}: what is said of {token}, position {self.position}"

    def _bars(self) -> "charts.AnyChart":
        from layerwise import charts

        frame = charts.leading_frame(
            [each.said.top[0] for each in self.states],
            {self.answer.id} if self.answer else (),
            answer_probs=[float(np.exp(each.said.answer_logprob or 0)) for each in self.states]
            if self.answer
            else None,
        )
        layers = [each.layer for each in self.states]
        return charts.leading_tokens(frame.assign(layer=layers), self._title)

    def _map(self) -> "charts.AnyChart":
        import pandas as pd

        from layerwise import charts

        of_answer = (
            f"probability of {visible(self.answer.text)}" if self.answer else "probability of the likeliest token"
        )
        rows = [
            {
                "layer": each.layer,
                "to": str(each.to_layer),
                "label": visible(each.said.top[0].text, limit=7),
                "prob": float(np.exp(each.said.answer_logprob))
                if each.said.answer_logprob is not None
                else each.said.top[0].prob,
                "reached": True,
            }
            for each in self.states
        ]
        return charts.heatmap(
            pd.DataFrame(rows),
            x="to",
            y="layer",
            value="prob",
            x_title="layer of the target",
            y_title="layer of the prompt",
            value_title=of_answer,
            title=self._title,
            label="label",
        )
