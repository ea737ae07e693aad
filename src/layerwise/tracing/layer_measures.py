"""Every measure of a trace, declared where it is taken: at each layer and position, and of an answer at each layer.

A new one is a field more in one of these records (`layerwise.measures.measure` says what a field declares), with
the default None, because stored traces and runs lack it. `python docs/measures.py` then puts it into the glossary.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from layerwise.measures.measure import (
    AMOUNT,
    COSINE,
    COUNT,
    LOGPROB,
    NUMBER,
    RANK,
    SHARE,
    Range,
    measure,
    measured,
    measures_of,
)

if TYPE_CHECKING:  # they need PyTorch, and a trace is opened without it
    from layerwise.tracing.answer_reading import AnswerReading
    from layerwise.tracing.places import PlacesRead

FloatArray = np.ndarray
IntArray = np.ndarray


def _at_places(title: str, unit: str, range: Range, take: "Callable[[PlacesRead], np.ndarray]") -> dict[str, Any]:
    return measure(title, unit, range, take)


def _of_answer(
    title: str, unit: str, range: Range, take: "Callable[[AnswerReading], np.ndarray]", *, shown: bool = True
) -> dict[str, Any]:
    return measure(title, unit, range, take, shown=shown)


def _from_logit_lens(read: "PlacesRead") -> np.ndarray | None:
    return read.table(read.readout.kl_from_base_bits) if read.reading.beside_logit else None


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerMeasures:
    """The measures of every layer and position. Arrays: [layer, position]."""

    entropy_bits: FloatArray = field(
        metadata=_at_places("entropy", "bits", AMOUNT, lambda read: read.table(read.readout.entropy_bits))
    )
    """Entropy of the layer's prediction; 0 is certain."""
    kl_to_final_bits: FloatArray = field(
        metadata=_at_places(
            "KL(layer ‖ output)", "bits", AMOUNT, lambda read: read.table(read.readout.kl_to_final_bits)
        )
    )
    """KL(layer ‖ output): surprise of who believed the output and is shown the layer."""
    kl_from_final_bits: FloatArray = field(
        metadata=_at_places(
            "KL(output ‖ layer)", "bits", AMOUNT, lambda read: read.table(read.readout.kl_from_final_bits)
        )
    )
    """KL(output ‖ layer): what the output still has to add; the tuned lens's objective."""
    kl_from_logit_lens_bits: FloatArray | None = field(
        default=None,
        metadata=measure("KL(logit lens ‖ this lens)", "bits", AMOUNT, _from_logit_lens, sometimes=True),
    )
    """KL(logit lens ‖ this lens) at the same layer: how far the choice of lens matters. None where the logit lens was
    not read beside it."""
    total_variation: FloatArray = field(
        metadata=_at_places(
            "total variation to the output", "", SHARE, lambda read: read.table(read.readout.total_variation)
        )
    )
    """Half the sum of all differences in probability to the output."""
    echo_mass: FloatArray = field(
        metadata=_at_places(
            "probability on the prompt’s own tokens", "probability", SHARE, lambda read: read.table(read.readout.mass)
        )
    )
    """Probability on the distinct tokens at or before the position, special ones left out: high where a layer repeats
    its input."""
    residual_norm: FloatArray = field(
        metadata=_at_places("norm of the residual stream", "", AMOUNT, lambda read: read.table(read.geometry.norm))
    )
    """Euclidean norm of the residual stream."""
    cosine_to_final: FloatArray = field(
        metadata=_at_places(
            "cosine to the last layer’s state", "", COSINE, lambda read: read.table(read.geometry.cosine_to_final)
        )
    )
    """Cosine between the residual stream here and at layer n."""

    @property
    def measures(self) -> dict[str, FloatArray]:
        """All of them by name; without those that are younger than the file which they were read from."""
        return measured(self)


def _ties_of_best(read: "AnswerReading") -> np.ndarray:
    best = read.of_deciding(read.reading.rank).argmin(axis=0)
    return np.take_along_axis(read.of_deciding(read.reading.ties), best[None], axis=0)[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class AnswerCurves:
    """The measures of an answer, or of a set of acceptable ones, after the prompt. Arrays: [layer]."""

    prob: FloatArray = field(
        metadata=_of_answer(
            "probability", "probability", SHARE, lambda read: read.behind_same(read.reading.prob).max(axis=0)
        )
    )
    """Of the deciding token, teacher-forced up to it; of a set, of all deciding tokens after the same tokens."""
    rank: IntArray = field(
        metadata=_of_answer("rank", "", RANK, lambda read: read.of_deciding(read.reading.rank).min(axis=0))
    )
    """Of the deciding token; of a set, the best. Only strictly larger logits count above."""
    ties: IntArray = field(metadata=_of_answer("ties", "tokens", COUNT, _ties_of_best, shown=False))
    """Other tokens with exactly that logit."""
    margin: FloatArray = field(
        metadata=_of_answer("margin", "logits", NUMBER, lambda read: read.behind_same(read.reading.margin).max(axis=0))
    )
    """Logit of the best deciding token minus the best logit of any token outside the set."""
    logprob: FloatArray = field(
        metadata=_of_answer(
            "log-probability of the whole answer",
            "nats",
            LOGPROB,
            lambda read: np.logaddexp.reduce(
                [read.of_tokens(answer, read.reading.logprob).sum(axis=0) for answer in read.disjoint]
            ),
        )
    )
    """Natural log of the whole answer's probability, teacher-forced; of a set, of all together."""
    worst_rank: IntArray = field(
        metadata=_of_answer(
            "rank of the worst token",
            "",
            RANK,
            lambda read: np.min(
                [read.of_tokens(answer, read.reading.rank).max(axis=0) for answer in read.answers], axis=0
            ),
            shown=False,
        )
    )
    """Of the whole answer's tokens, teacher-forced, the one that ranks worst; of a set, the best answer's. At 1 the
    layer would write the answer by itself."""
    first_token_prob: FloatArray = field(
        metadata=_of_answer(
            "probability of the first token",
            "probability",
            SHARE,
            lambda read: read.reading.prob(read.first_place, read.first_tokens),
        )
    )
    """Of the first token; of a set, of all first tokens."""
    first_token_rank: IntArray = field(
        metadata=_of_answer(
            "rank of the first token",
            "",
            RANK,
            lambda read: np.min([read.reading.rank(read.first_place, token) for token in read.first_tokens], axis=0),
        )
    )
    """Of the first token; of a set, the best."""

    @property
    def curves(self) -> dict[str, np.ndarray]:
        """All of them by name; without those that are younger than the file which they were read from."""
        return measured(self)


MEASURES = measures_of(LayerMeasures)
"""Of every layer and position, by name."""

ANSWER_CURVES = measures_of(AnswerCurves)
"""Of an answer at every layer, by name."""
