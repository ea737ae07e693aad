"""Ridge lenses of the bundled models, fitted on little text: far closer to the output than the logit lens."""

import pydoc_data.topics
from statistics import median

import torch

import layerwise as lw
from layerwise.fitting.held_out import HeldOut
from layerwise.lens_spec import RIDGE
from layerwise.lenses.fitted import FittedLens

LAYERS = "2,8,9,14"
TEXTS = [text[:6000] for _, text in sorted(pydoc_data.topics.topics.items())][:30]


def test_ridge_comes_far_closer_to_the_output_than_the_logit_lens(bundled_model, tmp_path):
    """With a tenth of the text that is used by default: .15 and .17 of its distance, in the median over layers."""
    lens = lw.fit_lens(
        bundled_model,
        "ridge",
        tmp_path / "lens",
        TEXTS,
        count=32,
        length=64,
        layers=LAYERS,
        options={"penalty": 0.03},
    )
    assert lens.card is not None
    figures = lens.card.held_out
    assert median(figures["kl_bits"]) < 0.25 * median(figures["logit_kl_bits"])
    with bundled_model.computing() as loaded:
        held_out = HeldOut(loaded, torch.tensor([loaded.tokenizer.encode(TEXTS[0])[:64]]))
        right = held_out.kl_bits(lens, (9,))
        shifted = held_out.kl_bits(FittedLens(RIDGE, {9: lens.translators[8]}), (9,))
        assert right < shifted
