"""What edited runs say at the end, beside the run that they were made of and one that they are compared with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.cells import Cell, Cells
from layerwise.capture.edits import Edit, attention_for
from layerwise.capture.loop import drive
from layerwise.errors import CheckError
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.machine.device import free_memory
from layerwise.readout.kernel import read_out
from layerwise.readout.lenses import LogitLens
from layerwise.readout.readout import Readout
from layerwise.types import Progress, Token

_CELLS_BYTES = 192 << 20
"""States of cells that run together: while a batch grows it is there twice."""

_SHARE_OF_MEMORY = 4
"""Cells on an accelerator may take this fraction of its free memory."""

_ROWS_READ = 48
"""Cells whose output is read together, with the two runs that they are compared with."""

_NOT_FINITE = "An edited run gives NaN or infinite numbers. Run with --dtype float32."

SURELY = 1e-3
"""Two runs whose effects are closer than this have nothing between them to recover: rounding would be divided by it."""

OUTCOMES = ("logit_difference", "answer_logprob", "answer_rank")
"""What is said of every run."""

MEASURES = (*OUTCOMES, "kl_from_unpatched_bits", "kl_from_source_bits")
"""What is said of every cell."""


@dataclass(frozen=True)
class Outcome:
    """What a run says after the prompt; the mean, where there were several draws of noise."""

    logit_difference: float
    """Logit of the answer's deciding token minus that of the other answer's; NaN where there is none."""
    answer_logprob: float
    answer_rank: float
    top: str
    """The likeliest token's text."""

    @staticmethod
    def mean(outcomes: "Sequence[Outcome]") -> "Outcome":
        """Return the mean of some runs, with the first one's likeliest token."""
        means = {name: float(np.mean([getattr(each, name) for each in outcomes])) for name in OUTCOMES}
        return Outcome(top=outcomes[0].top, **means)


@torch.no_grad()
def run_cells(
    model: LoadedModel,
    ids: tuple[int, ...],
    cells: Sequence[Cell],
    source: Float[Tensor, " d_model"] | None,
    answers: tuple[Token, Token | None],
    *,
    embedded: Sequence[Edit] = (),
    only_effect: bool = False,
    progress: Progress | None = None,
) -> "Read":
    """Run cells of a text, as many together as there is room for, and read what they say.

    Args:
        model: the model to run.
        ids: the text.
        cells: edits of it.
        source: the last state of a run that they are compared with; without one, of the text as it is.
        answers: whose logits are read, the answer's first.
        embedded: edits of layer 0 that the text has itself.
        only_effect: read nothing of cells but the difference of two answers' logits, where there are two: a large
            vocabulary takes longer than the blocks.
        progress: called with (what, done, total).

    Raises:
        CheckError: the numbers are not finite.
    """
    cells_last, text = last_states(model, ids, cells, embedded=embedded, progress=progress)
    source = text if source is None else source.to(text)
    if not only_effect or answers[1] is None:
        return Read.of(model, cells_last, text, source, answers, progress)
    runs = Read.of(model, text[None], text, source, answers, None)
    head = model.output_head.of_tokens([token.id for token in answers if token])
    logits = head.logits(head.normed(cells_last.to(text.device))).double()
    if not bool(logits.isfinite().all()):
        raise CheckError(_NOT_FINITE)
    effect = {"logit_difference": (logits[:, 0] - logits[:, 1]).cpu().numpy()}
    return replace(runs, of_cells=effect, of_text={name: runs.of_text[name] for name in effect})


@torch.no_grad()
def last_states(
    model: LoadedModel,
    ids: tuple[int, ...],
    cells: Sequence[Cell],
    *,
    embedded: Sequence[Edit] = (),
    progress: Progress | None = None,
) -> tuple[Float[Tensor, "cell d_model"], Float[Tensor, " d_model"]]:
    """Return what the last layer has at the last position, of each cell and of the text as it is (see `run_cells`)."""
    last: list[Tensor] = []
    text = torch.empty(0)
    with attention_for(model, [edit.site for cell in cells for edit in cell.edits]):
        for some in _in_parts(model, cells, len(ids)):
            running = Cells(model, ids, some, progress, embedded=embedded)
            drive(model, [running])
            last.append(running.last)
            text = running.last_of_text
    return torch.cat(last), text


@dataclass(frozen=True)
class Read:
    """What runs say, by measure."""

    of_cells: dict[str, Float[np.ndarray, " cell"]]
    of_text: dict[str, float]
    unpatched: Outcome
    source: Outcome

    @staticmethod
    def of(
        model: LoadedModel,
        cells: Float[Tensor, "cell d_model"],
        text: Float[Tensor, " d_model"],
        source: Float[Tensor, " d_model"],
        answers: tuple[Token, Token | None],
        progress: Progress | None,
    ) -> "Read":
        """Read last states: cells some dozens at a time, the two runs that they are compared with beside them."""
        together = -(-len(cells) // -(-len(cells) // _ROWS_READ))  # groups of about one size
        missing = -len(cells) % together
        filled = torch.cat([cells, text.expand(missing, -1)]).unflatten(0, (-1, together))
        beside = torch.stack([text, source]).expand(len(filled), -1, -1)
        targets = [token.id for token in answers if token]
        readout = read_out(
            torch.cat([filled, beside], dim=1),
            model.output_head,
            rows_of=lambda states: LogitLens().rows(states, model.output_head),
            top_k=1,
            targets=[targets] * len(filled),
            base=[together] * (together + 2),
            progress=progress,
        )
        if not bool(readout.entropy_bits.isfinite().all()):
            raise CheckError(_NOT_FINITE)
        measured = {name: values.double().numpy() for name, values in _measured(readout).items()}
        of_cells = {name: values[:, :together].reshape(-1)[: len(cells)] for name, values in measured.items()}

        def outcome(row: int) -> Outcome:
            top = model.tokenizer.text_of(int(readout.top_ids[0, row, 0]))
            return Outcome(top=top, **{name: float(measured[name][0, row]) for name in OUTCOMES})

        of_text = {name: float(values[0, together]) for name, values in measured.items()}
        return Read(of_cells, of_text, outcome(together), outcome(together + 1))


def _measured(readout: Readout) -> dict[str, Float[Tensor, "place row"]]:
    logprobs = readout.target_logprobs
    without = torch.full_like(logprobs[..., 0], torch.nan)
    return {
        "logit_difference": logprobs[..., 0] - logprobs[..., 1] if logprobs.shape[-1] > 1 else without,
        "answer_logprob": logprobs[..., 0],
        "answer_rank": readout.target_ranks[..., 0],
        "kl_from_unpatched_bits": readout.kl_from_base_bits,
        "kl_from_source_bits": readout.kl_from_final_bits,
    }


def _in_parts(model: LoadedModel, cells: Sequence[Cell], length: int) -> Iterator[Sequence[Cell]]:
    """Divide cells so that the states of those that run together have room."""
    of_position = model.output_head.weight.shape[1] * model.dtype.itemsize
    allowed = model.residency.bytes_for_states
    if model.device.type != "cpu":
        allowed = free_memory(model.device.type) // _SHARE_OF_MEMORY
    room, start, taken = _CELLS_BYTES if allowed is None else allowed // 2, 0, 0
    for index, cell in enumerate(cells):
        size = (length - cell.start) * of_position
        if taken and taken + size > room:
            yield cells[start:index]
            start, taken = index, 0
        taken += size
    yield cells[start:]
