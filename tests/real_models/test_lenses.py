"""Fitted lenses beside TransformerLens's own: its files, its layers, its numbers."""

import pytest
import torch
from transformer_lens.tools.analysis import JacobianLens

import layerwise as lw
from layerwise.lenses.fitted import Translator
from layerwise.lenses.published.jacobian import save_jacobian_artefact
from tests.lenses import card_for

PROMPT = "The capital of Germany is"
_LIMIT = 1e-4
"""In log-probability: what two orders of the same float32 sums come to is at most 3e-5 here."""


def matrices(model: lw.Model) -> dict[int, Translator]:
    """Return matrices so unlike one another that a neighbouring layer's could not pass for a layer's own."""
    draw, d_model = torch.Generator().manual_seed(0), model.info.d_model
    return {
        layer: Translator(torch.eye(d_model) + 0.3 / d_model**0.5 * torch.randn(d_model, d_model, generator=draw))
        for layer in range(1, model.n_layers)
    }


def logprobs(values: torch.Tensor) -> torch.Tensor:
    return values.double().log_softmax(-1)


@pytest.mark.filterwarnings("ignore::layerwise.errors.LensWarning")
def test_our_layer_k_is_transformerlenses_layer_k_minus_1(smollm, tmp_path):
    path = tmp_path / "lens.pt"
    save_jacobian_artefact(path, card_for(smollm, "jacobian"), matrices(smollm), "float32")
    theirs = JacobianLens.load(str(path))
    assert theirs.source_layers == list(range(smollm.n_layers - 1))
    assert theirs.estimator == "jacobian_lens"
    ids = [token.id for token in smollm.trace(PROMPT).tokens]
    read = theirs.readout(smollm.bridge, torch.tensor([ids]), positions=[-1], return_full_logits=True)
    ours = smollm.trace(ids, lens=f"jacobian:{path}", top_k=50)
    assert read.lens_logits is not None
    differences = {}
    for block, logits in read.lens_logits.items():
        expected = logprobs(logits[0])
        for layer in (block, block + 1):
            found = torch.from_numpy(ours.top_logprobs[layer, 0])
            differences[block, layer] = float((expected[ours.top_ids[layer, 0].tolist()] - found).abs().max())
    assert max(error for (block, layer), error in differences.items() if layer == block + 1) < _LIMIT
    assert min(error for (block, layer), error in differences.items() if layer == block) > 100 * _LIMIT
