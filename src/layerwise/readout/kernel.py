"""Hidden states to statistics over the vocabulary, without ever holding rows × vocabulary.

Rows come in groups. A group is one position of one sequence: its rows are the layers there, and
they share one reference, the model's output at that position.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.models.head import Head

_PRODUCT_BYTES = 64 << 20
"""Logits held at a time. Large enough that one pass over W_U serves several groups."""

_STATISTICS_ROWS = 8
"""Rows whose statistics are computed together; their logits stay in a shared cache of a few MB."""

_BLOCK = 64
"""Width of the blocks whose maxima narrow down the top-k."""

_BITS = 1 / math.log(2)


@dataclass(frozen=True, eq=False)
class Readout:
    """What the vocabulary says, per row. Natural logarithms unless the name says bits."""

    top_ids: Int[Tensor, "group row rank"]
    top_logprobs: Float[Tensor, "group row rank"]
    entropy_bits: Float[Tensor, "group row"]
    kl_to_final_bits: Float[Tensor, "group row"]
    """KL(P_row ‖ P_reference)."""
    kl_from_final_bits: Float[Tensor, "group row"]
    """KL(P_reference ‖ P_row)."""
    total_variation: Float[Tensor, "group row"]
    """½ Σ |P_row − P_reference|, in [0, 1]."""
    target_logprobs: Float[Tensor, "group row target"]
    target_ranks: Int[Tensor, "group row target"]
    """1 + the number of strictly larger logits."""
    target_ties: Int[Tensor, "group row target"]
    """Other tokens with exactly the target's logit."""
    mass: Float[Tensor, "group row"]
    """Total probability of the group's `mass_ids`."""


def read_out(
    rows: Float[Tensor, "group row d_model"],
    head: Head,
    *,
    reference: Float[Tensor, "group d_model"],
    top_k: int = 5,
    targets: Sequence[Sequence[int]] = (),
    mass_ids: Sequence[Sequence[int]] = (),
) -> Readout:
    """Return the statistics of every row's distribution over the whole vocabulary.

    Args:
        rows: what a lens made of the hidden states, in float32.
        head: unembedding and output transform.
        reference: normed final state per group; its distribution is the model's output there.
        top_k: how many of the likeliest tokens to return, ties by lower id.
        targets: ids per group whose log-probability and rank are wanted. Groups may differ in
            number; shorter ones are filled up with their first target (or 0).
        mass_ids: distinct ids per group whose probabilities are summed.
    """
    n_groups, n_rows, _ = rows.shape
    target_ids = _filled(targets or [()] * n_groups, rows.device)
    parts = []
    step = max(1, _PRODUCT_BYTES // (4 * head.vocab_size * (n_rows + 1)))
    buffer = rows.new_empty(min(step, n_groups) * (n_rows + 1), head.vocab_size)
    scratch = rows.new_empty(2, min(n_rows, _STATISTICS_ROWS), head.vocab_size)
    for start in range(0, n_groups, step):
        some = slice(start, min(start + step, n_groups))
        stacked = torch.cat([rows[some], reference[some, None]], dim=1)
        count = stacked.shape[0]
        logits = head.logits(stacked.flatten(0, 1), out=buffer[: count * (n_rows + 1)])
        logits = logits.view(count, n_rows + 1, head.vocab_size)
        for group in range(count):
            parts.append(
                _read_group(
                    logits[group, :-1],
                    logits[group, -1],
                    scratch,
                    min(top_k, head.vocab_size),
                    target_ids[start + group],
                    torch.tensor(mass_ids[start + group] if mass_ids else [], dtype=torch.long, device=rows.device),
                )
            )
    return Readout(*(torch.stack(column) for column in zip(*parts, strict=True)))


def _read_group(
    logits: Float[Tensor, "row token"],
    reference: Float[Tensor, " token"],
    scratch: Float[Tensor, "two tile_row token"],
    top_k: int,
    targets: Int[Tensor, " target"],
    mass_ids: Int[Tensor, " id"],
) -> tuple[Tensor, ...]:
    """Return one group's statistics in the order of `Readout`'s fields. The logits are used up."""
    reference = reference - reference.max()
    reference_lse = reference.exp().sum().log()
    reference_probs = (reference - reference_lse).exp()
    tiles = [
        _read_tile(tile, scratch[:, : len(tile)], reference, reference_lse, reference_probs, top_k, targets, mass_ids)
        for tile in logits.split(_STATISTICS_ROWS)
    ]
    return tuple(torch.cat(column) for column in zip(*tiles, strict=True))


def _read_tile(
    logits: Float[Tensor, "row token"],
    scratch: Float[Tensor, "two row token"],
    reference: Float[Tensor, " token"],
    reference_lse: Float[Tensor, ""],
    reference_probs: Float[Tensor, " token"],
    top_k: int,
    targets: Int[Tensor, " target"],
    mass_ids: Int[Tensor, " id"],
) -> tuple[Tensor, ...]:
    """Return a few rows' statistics. Works in place: at 262,144 tokens a temporary is 1 MB a row."""
    probs, products = scratch
    top_values, top_ids = exact_top_k(logits, top_k)
    best = top_values[:, :1]
    target_logits = logits[:, targets]
    ranks, ties = (torch.empty_like(target_logits, dtype=torch.long) for _ in range(2))
    for column, t in enumerate(target_logits.unbind(-1)):
        # Counted in float32, exact up to 2²⁴ tokens: summing booleans takes five times as long.
        ranks[:, column] = torch.gt(logits, t[:, None], out=products).sum(-1).long() + 1
        ties[:, column] = torch.eq(logits, t[:, None], out=products).sum(-1).long() - 1

    # Shifted by each row's maximum, so that sums of large logits do not lose the small differences.
    shifted = logits.sub_(best)
    total = torch.exp(shifted, out=probs).sum(-1)
    lse = total.log()
    probs.div_(total[:, None])
    entropy = lse - torch.mul(probs, shifted, out=products).sum(-1)
    gap = shifted.sub_(reference)
    shift = lse - reference_lse
    kl_to = torch.mul(probs, gap, out=products).sum(-1) - shift
    kl_from = shift - torch.mul(gap, reference_probs, out=products).sum(-1)
    mass = probs[:, mass_ids].sum(-1)
    variation = probs.sub_(reference_probs).abs_().sum(-1) / 2
    return (
        top_ids,
        top_values - best - lse[:, None],
        entropy.clamp_min(0) * _BITS,
        kl_to.clamp_min(0) * _BITS,
        kl_from.clamp_min(0) * _BITS,
        variation,
        target_logits - best - lse[:, None],
        ranks,
        ties,
        mass,
    )


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


def _filled(targets: Sequence[Sequence[int]], device: torch.device) -> Int[Tensor, "group target"]:
    """Return ragged ids as a rectangle, each row filled up with its first id (or 0)."""
    width = max((len(ids) for ids in targets), default=0)
    rows = [list(ids) + [ids[0] if ids else 0] * (width - len(ids)) for ids in targets]
    return torch.tensor(rows, dtype=torch.long, device=device).reshape(len(targets), width)
