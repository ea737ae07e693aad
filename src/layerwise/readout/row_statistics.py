"""Statistics over the vocabulary, for rows of logits that are there."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise import compiled
from layerwise.readout.readout import BITS, Readout, ReadoutPlan

_CACHES_PER_TILE = 4
"""Logits whose statistics PyTorch computes together on a CPU, in second-level caches."""

_NEGLIGIBLE = 1e-30
"""Times the likeliest token's: probabilities below count as 0. They add nothing to any sum in float32,
and calculating with numbers below 1e-38 takes a processor several times as long."""

_BOUND = math.log(_NEGLIGIBLE) - 1

_BLOCK = 64
"""Width of the blocks whose maxima narrow down the top-k."""


def read_logits(logits: Float[Tensor, "place row token"], wanted: ReadoutPlan) -> Readout:
    """Return the statistics of every row. The last row of a place is what its others are compared with.

    Args:
        logits: float32. Logits of −∞ are tokens of probability 0.
        wanted: what to read.

    Raises:
        IndexError: an id is not in the vocabulary, or there is not one list of ids per place, or one
            base per row.
    """
    wanted.must_fit(logits.shape)
    if logits.device.type == "cpu" and compiled.available():
        from layerwise.readout import compiled_statistics

        return compiled_statistics.read_logits(logits, wanted)
    return read_logits_in_tiles(logits, wanted)


def read_logits_in_tiles(logits: Float[Tensor, "place row token"], wanted: ReadoutPlan) -> Readout:
    """Return what `read_logits` returns, by PyTorch on any device, a few rows at a time."""
    scratch = _Scratch(logits)
    parts = [_read_place(rows, wanted.of_places(slice(i, i + 1)), scratch) for i, rows in enumerate(logits)]
    return Readout(*(torch.cat(values) for values in zip(*(part._fields() for part in parts), strict=True)))


def log_sum_exp(logits: Float[Tensor, "row token"]) -> Float[Tensor, " row"]:
    """Return log Σ exp(z) per row, in float64 on the CPU."""
    return read_logits(logits[None], ReadoutPlan.of_rows(len(logits), top_k=1)).lse[0, :, 0]


def exact_top_k(
    logits: Float[Tensor, "row token"], k: int
) -> tuple[Float[Tensor, "row rank"], Int[Tensor, "row rank"]]:
    """Return the k largest values and their indices, largest first, ties by lower index.

    The k largest elements lie in the k blocks with the largest maxima, so only those are sorted.
    Where block maxima tie at the border, which blocks to take is open: such rows are sorted whole.
    """
    n_rows, width = logits.shape
    n_blocks = width // _BLOCK
    if n_blocks <= k:
        return _sorted_top_k(logits, k)
    body = logits[:, : n_blocks * _BLOCK].unflatten(-1, (n_blocks, _BLOCK))
    maxima = body.amax(-1)
    border = maxima.topk(k + 1, sorted=True)
    blocks = border.indices[:, :k].sort(-1).values
    tail = torch.arange(n_blocks * _BLOCK, width, device=logits.device).expand(n_rows, -1)
    inside = torch.arange(_BLOCK, device=logits.device)
    candidates = torch.cat([(blocks[:, :, None] * _BLOCK + inside).flatten(1), tail], dim=1)
    values, order = _sorted_top_k(logits.gather(1, candidates), k)
    indices = candidates.gather(1, order)
    for row in (border.values[:, k - 1] == border.values[:, k]).nonzero().flatten().tolist():
        values[row], indices[row] = (one[0] for one in _sorted_top_k(logits[row : row + 1], k))
    return values, indices


def _sorted_top_k(logits: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, indices = logits.sort(dim=-1, descending=True, stable=True)
    return values[:, :k], indices[:, :k]


class _Scratch:
    """Room for what is worked out on the way, taken once: fresh memory costs more than the work itself.

    On a CPU it is for the few rows whose logits stay in the cache, elsewhere for a whole place.
    """

    def __init__(self, logits: Float[Tensor, "place row token"]) -> None:
        n_rows, vocab_size = logits.shape[1:]
        if logits.device.type == "cpu":
            n_rows = min(n_rows, max(1, _CACHES_PER_TILE * compiled.cache_bytes() // (4 * vocab_size)))
        self.n_rows = n_rows
        self._reference = logits.new_empty(2, 1, vocab_size)
        self._tile = logits.new_empty(5, n_rows, vocab_size)

    def reference(self, row: Tensor) -> "_Distribution":
        return _Distribution.of(row, *self._reference)

    def rows(self, rows: Tensor) -> "_Distribution":
        return _Distribution.of(rows, *self._tile[:2, : len(rows)])

    def base(self, rows: Tensor) -> "_Distribution":
        return _Distribution.of(rows, *self._tile[2:4, : len(rows)])

    def spare(self, rows: Tensor) -> Tensor:
        return self._tile[4, : len(rows)]


def _read_place(rows: Float[Tensor, "row token"], wanted: ReadoutPlan, scratch: _Scratch) -> Readout:
    """Return the statistics of one place, in PyTorch."""
    targets, mass_ids = wanted.targets[0].to(rows.device), wanted.mass_ids[0]
    mass_ids = mass_ids[mass_ids >= 0].to(rows.device)
    reference = scratch.reference(rows[-1:])
    tiles = []
    for start in range(0, len(rows), scratch.n_rows):
        z = rows[start : start + scratch.n_rows]
        here, spare = scratch.rows(z), scratch.spare(z)
        base = list(wanted.base[start : start + scratch.n_rows])
        compared = base != list(range(start, start + len(z)))
        top_logits, top_ids = exact_top_k(z, wanted.top_k)
        target_logits = z[:, targets]
        tiles.append(
            (
                top_ids,
                top_logits,
                torch.stack([here.lse_at(t, spare) for t in wanted.temperatures], dim=-1),
                here.entropy(spare),
                here.kl_to(reference, spare),
                reference.kl_to(here, spare),
                torch.sub(here.probs, reference.probs, out=spare).abs_().sum(-1) / 2,
                scratch.base(rows[base]).kl_to(here, spare) if compared else z.new_zeros(len(z)),
                target_logits,
                _count(torch.gt, z, target_logits, spare) + 1,
                _count(torch.eq, z, target_logits, spare) - 1,
                here.probs[:, mass_ids].sum(-1),
            )
        )
    return Readout(*(torch.cat([column.cpu() for column in columns])[None] for columns in zip(*tiles, strict=True)))


@dataclass(frozen=True, eq=False)
class _Distribution:
    """Softmax of some rows, shifted by each row's maximum so that large logits keep small differences."""

    largest: Float[Tensor, "row 1"]
    shifted: Float[Tensor, "row token"]
    probs: Float[Tensor, "row token"]
    log_total: Float[Tensor, " row"]
    """log Σ exp(z − max z)."""

    @staticmethod
    def of(logits: Tensor, shifted: Tensor, probs: Tensor) -> "_Distribution":
        """Return the distribution of some rows, kept in the two tensors given."""
        largest = logits.amax(-1, keepdim=True)
        torch.sub(logits, largest, out=shifted)
        # Bounded before and cut off after: a processor is slow to make numbers below 1e-38, too.
        torch.clamp(shifted, min=_BOUND, out=probs)
        torch.threshold_(probs.exp_(), _NEGLIGIBLE, 0)
        total = probs.sum(-1, keepdim=True)
        return _Distribution(largest, shifted, probs.div_(total), total[:, 0].log())

    # Each of these works in `spare`, of the shape of the larger of the distributions.

    def entropy(self, spare: Tensor) -> Tensor:
        return ((self.log_total - _expected(self.probs, spare.copy_(self.shifted))) * BITS).clamp_min(0)

    def kl_to(self, other: "_Distribution", spare: Tensor) -> Tensor:
        gap = _expected(self.probs, torch.sub(self.shifted, other.shifted, out=spare))
        return ((gap - self.log_total + other.log_total) * BITS).clamp_min(0)

    def lse_at(self, temperature: float, spare: Tensor) -> Tensor:
        if temperature == 1:
            total = self.log_total
        else:
            total = torch.div(self.shifted, temperature, out=spare).clamp_(min=_BOUND).exp_().sum(-1).log()
        return self.largest[:, 0].cpu().double() / temperature + total.cpu().double()


def _expected(probs: Tensor, values: Tensor) -> Tensor:
    """Return Σ p·x, where what has no probability counts for nothing, be it infinite. Overwrites x."""
    return values.mul_(probs).nan_to_num_(0.0, math.inf, -math.inf).sum(-1)


def _count(compare: Callable[..., Tensor], logits: Tensor, bounds: Tensor, spare: Tensor) -> Tensor:
    """Return how many of each row's logits compare so with each bound."""
    counts = torch.empty_like(bounds, dtype=torch.long)
    for column, bound in enumerate(bounds.unbind(-1)):
        # Counted in float32, exact up to 2²⁴ tokens: summing booleans takes ten times as long.
        counts[:, column] = compare(logits, bound[:, None], out=spare).sum(-1).long()
    return counts
