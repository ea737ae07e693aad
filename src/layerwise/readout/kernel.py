"""Hidden states to statistics over the vocabulary, without ever holding rows × vocabulary.

Rows come by place. A place is one position of one sequence: its rows are the layers there, through
one lens or several, and the last row is the model's output, with which the others are compared.
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.models.machine.device import free_memory
from layerwise.models.output_head.output_head import OutputHead
from layerwise.readout.readout import Readout, ReadoutPlan
from layerwise.readout.row_statistics import read_logits
from layerwise.types import Progress

OnLogits = Callable[[slice, Float[Tensor, "some_places row token"], Readout], None]
"""Shown which places, their logits and what was read of them. Logits are overwritten afterwards."""

_ROWS = {"cpu": 128}
"""Rows read together: so many share one pass over the unembedding that more would hardly make it faster."""

_LOGITS_BYTES = {"cpu": 64 << 20}
"""Logits held at a time, where the vocabulary is too large for so many rows."""

_MADE_BYTES = 16 << 20
"""Rows made together: a fitted lens goes through all its matrices for them, which takes as long for one place as for
dozens."""

_SHARE_OF_MEMORY = 16
"""An accelerator, which does more at a time, may hold this fraction of its free memory."""


def read_out(
    states: Float[Tensor, "place state d_model"],
    head: OutputHead,
    *,
    rows_of: Callable[[Tensor], Float[Tensor, "some_places row d_model"]] = lambda states: states,
    top_k: int = 5,
    targets: Sequence[Sequence[int]] = (),
    mass_ids: Sequence[Sequence[int]] = (),
    temperatures: Sequence[float] = (),
    base: Sequence[int] = (),
    observe: OnLogits | None = None,
    progress: Progress | None = None,
) -> Readout:
    """Return the statistics of every row's distribution over the whole vocabulary.

    Args:
        states: what rows are made of.
        head: unembedding and output transform.
        rows_of: makes rows, in float32, of some places' states: a lens. Called for dozens of places at a time.
        top_k: how many of the likeliest tokens to return, ties by lower id.
        targets: ids per place whose logit and rank are wanted. Places may differ in number; shorter
            ones are filled up with their first target (or 0).
        mass_ids: distinct ids per place whose probabilities are summed.
        temperatures: further temperatures at which the log-sum-exp is wanted.
        base: per row, the row whose distribution it is compared with (`kl_from_base_bits`).
        observe: shown some places' logits while they are there, for what no statistic keeps.
        progress: told how many places are done.
    """
    n_places = len(states)
    together = rows_of(states[:1])
    n_rows = together.shape[1]
    wanted = ReadoutPlan(
        min(top_k, head.vocab_size),
        _filled(targets or [()] * n_places, None),
        _filled(mass_ids or [()] * n_places, -1),
        (1.0, *temperatures),
        tuple(base) or tuple(range(n_rows)),
    )
    step = max(1, _rows_at_once(states.device, head.vocab_size) // n_rows)
    made = max(1, _MADE_BYTES // (4 * n_rows * states.shape[-1] * step)) * step
    buffer = torch.empty(min(step, n_places) * n_rows, head.vocab_size, dtype=torch.float32, device=states.device)
    whole: Readout | None = None
    for start in range(0, n_places, step):
        some = slice(start, min(start + step, n_places))
        if start % made == 0 and n_places > 1:  # one place's are there already
            together = rows_of(states[start : start + made])
        rows = together[start % made :][:step]
        logits = head.logits(rows.flatten(0, 1), out=buffer[: len(rows) * n_rows])
        by_place = logits.view(len(rows), n_rows, -1)
        part = read_logits(by_place, wanted.of_places(some))
        if observe:
            observe(some, by_place, part)
        whole = whole or part.with_room_for(n_places)
        whole.fill_in(some, part)
        if progress:
            progress("reading the vocabulary", some.stop, n_places)
    if whole is None:
        raise ValueError("There are no states to read.")
    return whole


def warm_up(head: OutputHead, device: torch.device) -> None:
    """Read a few made-up rows, so that what is compiled is compiled: seconds, once per installation."""
    weight = torch.zeros(64, head.weight.shape[1], dtype=head.weight.dtype, device=device)
    read_out(
        torch.zeros(1, 2, weight.shape[1], device=device), OutputHead(torch.nn.Identity(), weight, None, head.transform)
    )


def _rows_at_once(device: torch.device, vocab_size: int) -> int:
    held = _LOGITS_BYTES.get(device.type) or free_memory(device.type) // _SHARE_OF_MEMORY
    return min(held // (4 * vocab_size), _ROWS.get(device.type, held))


def _filled(ids: Sequence[Sequence[int]], filler: int | None) -> Int[Tensor, "place id"]:
    """Return ragged ids as a rectangle, each row filled up with `filler`, or else its first id (or 0)."""
    width = max((len(some) for some in ids), default=0)
    fillers = [filler if filler is not None else some[0] if some else 0 for some in ids]
    rows = [[*some, *[fill] * (width - len(some))] for some, fill in zip(ids, fillers, strict=True)]
    return torch.tensor(rows, dtype=torch.long).reshape(len(ids), width)
