"""What layerwise makes of a file, beside the original."""

import math
from pathlib import Path
from typing import Any

import torch

import layerwise as lw
from benchmarks.gguf.vocabulary import text, token_ids

LENGTHS = (8, 64, 600)
"""Tokens: a prompt; more than any window; more than what rotary scaling starts from."""

TOLERANCE = 1e-4
"""In log-probability. The same arithmetic in another order came to at most a tenth of it."""


@torch.no_grad()
def logprobs(hf_model: Any, n_tokens: int) -> torch.Tensor:
    """Return log-probabilities [position, token] of the text by the model's own forward."""
    ids = torch.tensor([token_ids(text(n_tokens))])
    return hf_model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)


def largest_difference(first: Any, second: Any) -> float:
    """Return how far two models are apart in log-probability, over all lengths, positions and tokens."""
    return max(float((logprobs(first, n) - logprobs(second, n)).abs().max()) for n in LENGTHS)


def largest_error(path: Path, reference: Any) -> float:
    """Return how far layerwise's reading of a file is from the reference, over all lengths, positions and tokens.

    Raises:
        LayerwiseError: the file is refused.
    """
    model = lw.load(path, device="cpu")
    return max(_error(model, reference, n_tokens) for n_tokens in LENGTHS)


def _error(model: lw.Model, reference: Any, n_tokens: int) -> float:
    """Compare the trace, as users see it, and the whole vocabulary at all positions by the loaded model's forward."""
    right = logprobs(reference, n_tokens)
    trace = model.trace(text(n_tokens), positions="last")
    if [token.id for token in trace.tokens] != token_ids(text(n_tokens)):
        return math.inf
    ids, shown = torch.tensor(trace.top_ids[-1, -1]), torch.tensor(trace.top_logprobs[-1, -1])
    traced = (shown - right[-1, ids.long()]).abs().max()
    forward = (logprobs(model._loaded.hf, n_tokens) - right).abs().max()
    return float(torch.stack([traced, forward]).nan_to_num(math.inf).max())
