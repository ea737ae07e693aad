"""The questions that a run's models were asked, through the lens that they are told of."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from layerwise.analysis.overview import Overview
from layerwise.measures.milestones import Milestones
from layerwise.tracing.trace import CHECK_FIGURES
from layerwise.types import ModelInfo
from layerwise.view.document import SHOWN_CURVES

if TYPE_CHECKING:
    import pyarrow as pa

MILESTONES = tuple(field.name for field in fields(Milestones))

MEASURES = ("entropy_bits", "kl_from_final_bits", "kl_to_final_bits", "total_variation", "echo_mass")
"""That a question's layers may show, those that matter most first."""

_AS_STORED = ("set", "item", "direction", "wording", "prompt", "answer", "known")

_READ = [
    *(
        "model",
        "lens",
        "n_layers",
        "question",
        "refused",
        "covered_by",
        "output_from",
        *CHECK_FIGURES,
        *_AS_STORED,
        *MILESTONES,
    ),
    *("tokens", "answers", "top", *MEASURES, *(f"answer_{name}" for name in SHOWN_CURVES)),
]


@dataclass(frozen=True, eq=False)
class Asked:
    """What one model was asked and could be: questions of sets and the study's own, in the run's order."""

    model: str
    info: ModelInfo
    lens: str
    n_layers: int
    table: "pa.Table"
    """One row per question: columns of `store.tables.QUESTIONS`."""

    def __len__(self) -> int:
        return self.table.num_rows


def asked_of(overview: Overview) -> list[Asked]:
    """Return the models in the study's order, those without any answered question left out.

    Random-weights controls are left out too, unless there is nothing else.
    """
    run = overview.run
    table = run.table(_READ)
    found = [asked for name in run.study["models"] if (asked := _asked(overview, table, name))]
    return [asked for asked in found if asked.info.source != "random"] or found


def _asked(overview: Overview, table: "pa.Table", model: str) -> Asked | None:
    from pyarrow.compute import field

    mine = table.filter((field("model") == model) & (field("lens") == overview.lens) & field("refused").is_null())
    if not mine.num_rows:
        return None
    info = overview.run.models[model]
    return Asked(model, info, overview.lens, int(mine["n_layers"][0].as_py()), mine)


def question_columns(asked: list[Asked]) -> dict[str, list[Any]]:
    """Return one row per model and question, model by model, as columns."""
    columns: dict[str, list[Any]] = {"model": [at for at, each in enumerate(asked) for _ in range(len(each))]}
    columns["id"] = _joined(asked, "question")
    columns |= {name: _joined(asked, name) for name in _AS_STORED}
    columns["output_prob"] = [prob for each in asked for prob in _output_probs(each)]
    return columns | {name: _joined(asked, name) for name in MILESTONES}


def _joined(asked: list[Asked], name: str) -> list[Any]:
    return [value for each in asked for value in each.table[name].to_pylist()]


def _output_probs(asked: Asked) -> Iterator[float | None]:
    """Yield the whole answer's probability at layer n, or None where there is no answer."""
    for curve in asked.table["answer_logprob"].to_pylist():
        yield float(np.exp(np.float64(curve[-1]))) if curve else None
