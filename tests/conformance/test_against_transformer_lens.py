"""What is peculiar about families' readouts against TransformerLens's own logit lens.

Its bridge runs all families of this folder; `layerwise models list --capabilities` has those where it doesn't.
"""

import pytest
import torch
from transformer_lens.tools.analysis import logit_lens

PECULIAR = [
    "gpt2",
    "gpt-j",  # a bias after the unembedding
    "falcon",  # attention and MLP side by side
    "opt",
    "cohere",  # scaled logits
    "granite",
    "gemma3",  # capped logits
    "recurrent-gemma",
    "nanochat",  # a norm that is used twice
    "mixtral",
    "gpt-oss",
    "deepseek-v3",
    "mamba",
    "jamba",
    "zamba2",  # blocks that share weights
]


@pytest.mark.parametrize("family", PECULIAR)
def test_top_log_probabilities_agree(family, whole, traced):
    trace = traced(family)
    ids = torch.tensor([[token.id for token in trace.tokens]])
    theirs = logit_lens(whole(family).bridge, ids, top_k=5, return_type="log_probs", positions=None)
    assert torch.allclose(torch.tensor(trace.top_logprobs), theirs.values[:, 0], atol=1e-3)
