"""The Jacobian lens of the bundled models against TransformerLens's own fit."""

import pytest
import torch
from transformer_lens.tools.analysis import JacobianLens

import layerwise as lw
from layerwise.fitting.jacobian import SKIPPED, JacobianSums

TEXTS = (
    "The Danube rises in the Black Forest and flows through ten countries, more than any other river, before it ends.",
    "Water boils at a lower temperature on a mountain, for there is less air above it that could press upon its face.",
)
LENGTH = SKIPPED + 6
BLOCKS = 4
"""From the last down: the whole depth takes minutes, and is compared on tiny models."""


@pytest.mark.parametrize("name", ["smollm2-135m", "gemma-3-270m"])
def test_it_is_what_transformer_lens_fits(name):
    model = lw.load(name)
    texts = torch.cat([model.bridge.to_tokens(text)[:, :LENGTH] for text in TEXTS])
    n_layers = model._loaded.n_layers
    layers = range(n_layers - BLOCKS, n_layers)
    sums = JacobianSums(model._loaded, layers, length=LENGTH)
    sums.add(texts)
    theirs = JacobianLens.fit(
        model.bridge,
        TEXTS,
        corpus="two sentences",
        source_layers=[layer - 1 for layer in layers],  # of what leaves a block, which is the layer after it
        dim_batch=16,
        max_seq_len=LENGTH,
        show_progress=False,
    )
    for layer, translator in sums.translators().items():
        matrix = theirs.jacobians[layer - 1]
        assert (translator.matrix - matrix).norm() < 1e-4 * matrix.norm(), f"layer {layer}"
