"""The gradient of KL(output ‖ lens) with respect to what the output head is given, without a matrix of logits kept.

With z = T(W x + b), P = softmax z and Q the output's probabilities, ∂KL/∂x = Wᵀ (T′ (P − Q)).

Where the vocabulary is large, the columns of W are its most probable tokens and some drawn from the rest, which stand
for all of the rest: a column's weight is how many tokens it stands for. Then sums over the vocabulary are estimates
without bias, the logarithm of one is nearly so, and each step costs a fraction. What is reported never rests on it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.models.output_head.output_head import OutputHead, OutputTransform
from layerwise.models.weights.matrix import slices_of

_TILE = 1 << 22
"""Logits that are worked on at a time."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Some tokens' rows of the unembedding, in float32."""

    weight: Float[Tensor, "column d_model"]
    bias: Float[Tensor, " column"] | None
    log_stands_for: Float[Tensor, " column"]
    """log of how many tokens each stands for: 0 for one that stands for itself."""
    transform: OutputTransform

    def logits(self, normed: Float[Tensor, "row d_model"]) -> Float[Tensor, "row column"]:
        """Return T(W x + b) at these tokens."""
        z = normed @ self.weight.T
        return self.transform.apply_(z if self.bias is None else z.add_(self.bias))


def take_columns(head: OutputHead, ids: Int[Tensor, " column"], stands_for: Float[Tensor, " column"]) -> Columns:
    """Return some tokens' rows of the unembedding, from disk where it lies there."""
    if isinstance(head.weight, Tensor):
        weight = head.weight[ids].float()
    else:
        order = torch.argsort(ids)
        found = [
            rows[ids[order][_inside(ids[order], tokens)] - tokens.start] for tokens, rows in slices_of(head.weight)
        ]
        weight = torch.empty(len(ids), head.weight.shape[1])
        weight[order] = torch.cat([rows.float() for rows in found])
    bias = None if head.bias is None else head.bias[ids].float()
    return Columns(weight, bias, stands_for.log(), head.transform)


def _inside(ids: Tensor, tokens: slice) -> Tensor:
    return (ids >= tokens.start) & (ids < tokens.stop)


def kl_gradient(
    normed: Float[Tensor, "row place d_model"],
    output: Float[Tensor, "place d_model"],
    output_lse: Float[Tensor, " place"],
    columns: Columns,
) -> tuple[Float[Tensor, " row"], Float[Tensor, "row place d_model"]]:
    """Return each row's mean KL(output ‖ lens) over places, in nats, and its gradient (of the sum over rows).

    Args:
        normed: what the output head is given through the lens, in float32: a row for each layer.
        output: what it is given at the last layer.
        output_lse: log Σ exp z of the output, over the whole vocabulary.
        columns: the tokens that are looked at.
    """
    n_rows, n_places, _ = normed.shape
    losses, gradient = normed.new_zeros(n_rows), torch.empty_like(normed)
    step = max(1, _TILE // (len(columns.weight) * n_rows))
    for start in range(0, n_places, step):
        some = slice(start, start + step)
        log_q = columns.logits(output[some]) - output_lse[some, None]
        q = (log_q + columns.log_stands_for).exp_()
        z = columns.logits(normed[:, some].flatten(0, 1)).view(n_rows, -1, len(columns.weight))
        slope = columns.transform.slope(z)
        weighted = z + columns.log_stands_for
        lse = weighted.logsumexp(-1, keepdim=True)
        losses += (q * (log_q - z + lse)).sum((-1, -2)) / n_places
        of_logits = weighted.sub_(lse).exp_().mul_(q.sum(-1)[:, None]).sub_(q).mul_(slope)
        gradient[:, some] = (of_logits.flatten(0, 1) @ columns.weight).view(n_rows, -1, normed.shape[-1])
    return losses, gradient.div_(n_places)
