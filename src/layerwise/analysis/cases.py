"""What one model made of a run's question sets through one lens, as arrays to compute with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from layerwise.measures.calibration import HeldOutInner, folds, held_out_inner
from layerwise.measures.uncertainty import PerItem, later_than_all, per_item
from layerwise.store.run import Run

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

CURVES = (
    "entropy_bits",
    "kl_to_final_bits",
    "kl_from_final_bits",
    "kl_from_logit_lens_bits",
    "answer_prob",
    "answer_logprob",
    "answer_rank",
    "wrong_prob",
    "wrong_logprob",
    "wrong_rank",
)
"""Read from the store, each [question, layer]."""

_SCALARS = (
    "question",
    "set",
    "item",
    "direction",
    "wording",
    "group",
    "prompt",
    "answer",
    "known",
    "wrong",
    "settled_top1",
    "first_top1",
    "first_p50",
    "first_p95",
    "settled_kl_1bit",
    "copy",
    "half_entropy",
)

_PLACE = "place"
"""A column of our own: the rank of a question's set, direction and wording."""

_RANDOM = "random:"
"""In front of a model's name: the same architecture with random weights."""


def is_random(model: str) -> bool:
    """Return whether a name is that of a control, an architecture with random weights."""
    return model.strip().casefold().startswith(_RANDOM)


@dataclass(frozen=True, eq=False)
class Cases:
    """The questions of a run's sets that one model answered, through one lens."""

    model: str
    lens: str
    n_layers: int
    rows: "pd.DataFrame"
    """One per question: where it comes from, its milestones, whether the answer is known. Its `item` is SET/ITEM.

    `answers` holds all accepted forms with their tokens, `leads` is the text of the likeliest token after the
    prompt at the output, and `begins` says whether an accepted form begins with it.
    """
    curves: dict[str, np.ndarray]
    """`CURVES` by name, [question, layer]."""
    top: np.ndarray
    """[question, layer] Id of the likeliest token."""
    lse: np.ndarray | None
    """[question, layer, temperature] Natural logs, where the study asked for temperatures."""
    temperatures: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, chosen: Any) -> "Cases":
        """Return some of the questions, by a mask."""
        mask = np.asarray(chosen, dtype=bool)
        curves = {name: values[mask] for name, values in self.curves.items()}
        lse = None if self.lse is None else self.lse[mask]
        rows = self.rows.loc[mask].reset_index(drop=True)
        return Cases(self.model, self.lens, self.n_layers, rows, curves, self.top[mask], lse, self.temperatures)

    def of(self, **equal: str) -> "Cases":
        """Return the questions of a set, direction, wording or group: ``of(set="capitals")``."""
        mask = np.ones(len(self), dtype=bool)
        for column, value in equal.items():
            mask &= (self.rows[column] == value).to_numpy()
        return self.where(mask)

    def by(self, *columns: str) -> Iterator[tuple[tuple[str, ...], "Cases"]]:
        """Yield the questions of each combination of values, in the run's order."""
        for key in dict.fromkeys(self.rows[list(columns)].itertuples(index=False, name=None)):
            yield key, self.of(**dict(zip(columns, key, strict=True)))

    @property
    def known(self) -> "Cases":
        """Those whose answer the model would write by itself."""
        return self.where(self.rows["known"].to_numpy(dtype=bool))

    @property
    def random(self) -> bool:
        """Whether these are of the control, the same architecture with random weights."""
        return is_random(self.model)

    @property
    def items(self) -> Sequence[str]:
        """Of each question."""
        return self.rows["item"].tolist()

    def layers(self, milestone: str) -> np.ndarray:
        """Return a milestone's layer of each question, with n + 1 for never."""
        values = self.rows[milestone]
        return later_than_all(
            [None if missing else int(v) for v, missing in zip(values, values.isna(), strict=True)], self.n_layers
        )

    def depth_per_item(self, milestone: str) -> PerItem:
        """Return each item's depth of a milestone: the median over its questions. Never is beyond 1."""
        return per_item(self.layers(milestone) / self.n_layers, self.items, by="median")

    @property
    def whole_prob(self) -> np.ndarray:
        """[question] Probability of the whole answer at the output."""
        return np.exp(self.curves["answer_logprob"][:, -1].astype(np.float64))

    @cached_property
    def inner(self) -> HeldOutInner | None:
        """Each question's probability at the inner layer that other items chose."""
        return held_out_inner(self.curves["answer_prob"].astype(np.float64), folds(self.items)) if len(self) else None


def cases_of(run: Run) -> list[Cases]:
    """Return the answered questions of a run's sets, for each model and lens in the study's order.

    Questions of the study's own are left out, and those that the model could not be asked. Sets, directions
    and wordings come in the order in which the run has them, whichever questions are left out.
    """
    import pyarrow as pa

    wanted = [*_SCALARS, "model", "lens", "n_layers", "refused", "answers", "output", "top", "lse", *CURVES]
    table = run.table(wanted)
    places = list(zip(*(table[name].to_pylist() for name in ("set", "direction", "wording")), strict=True))
    rank = {place: at for at, place in enumerate(dict.fromkeys(places))}
    table = table.append_column(_PLACE, pa.array([rank[place] for place in places], pa.int64()))
    temperatures = tuple(run.study["temperatures"])
    found = []
    for model in run.study["models"]:
        for lens in run.study["lenses"]:
            mine = _rows_of(table, model, lens)
            if mine.num_rows:
                found.append(_cases(model, lens, mine, temperatures))
    return found


def _rows_of(table: "pa.Table", model: str, lens: str) -> "pa.Table":
    from pyarrow.compute import field

    asked = (field("model") == model) & (field("lens") == lens) & (field("set") != "")
    mine = table.filter(asked & field("refused").is_null() & field("answer").is_valid())
    return mine.take(np.argsort(mine[_PLACE].to_numpy(), kind="stable"))


def _cases(model: str, lens: str, table: "pa.Table", temperatures: tuple[float, ...]) -> Cases:
    from layerwise.store.tables import stacked

    n_layers = int(table["n_layers"][0].as_py())
    rows = table.select(list(_SCALARS)).to_pandas()
    rows["item"] = rows["set"] + "/" + rows["item"]
    rows["answers"] = answers = table["answers"].to_pylist()
    leaders = [output[0] for output in table["output"].to_pylist()]
    rows["leads"] = [leader["text"] for leader in leaders]
    rows["begins"] = [
        any(form["tokens"][0]["id"] == leader["id"] for form in forms)
        for forms, leader in zip(answers, leaders, strict=True)
    ]
    tops = table["top"].combine_chunks().flatten()  # one list of tokens per layer
    first = tops.offsets.to_numpy()[:-1]
    ids = tops.values.field("id").to_numpy(zero_copy_only=False)[first]
    lse = None
    if temperatures:
        per_layer = table["lse"].combine_chunks().flatten()
        lse = per_layer.flatten().to_numpy().reshape(len(rows), n_layers + 1, len(temperatures))
    curves = {name: stacked(table[name], n_layers + 1) for name in CURVES}
    return Cases(model, lens, n_layers, rows, curves, ids.reshape(len(rows), n_layers + 1), lse, temperatures)
