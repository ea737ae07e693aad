"""Patch grids of the bundled models against TransformerLens's, which runs the model once for each cell."""

import numpy as np
import pandas as pd
import pytest
import torch
from transformer_lens import patching

import layerwise as lw

PAIRS = [
    ("The capital of Germany is", "The capital of France is", " Berlin", " Paris"),
    (
        "When John and Mary went out, John gave a book to",
        "When John and Mary went out, Mary gave a book to",
        " Mary",
        " John",
    ),
]

THEIRS = {
    "resid_pre": "get_act_patch_resid_pre",
    "attn_out": "get_act_patch_attn_out",
    "mlp_out": "get_act_patch_mlp_out",
    "z": "get_act_patch_attn_head_out_all_pos",
}


@pytest.mark.parametrize("pair", PAIRS, ids=["a fact", "names that come again"])
def test_cells_are_those_of_transformer_lens(every_model, pair):
    found = lw.patch(every_model, *pair, kinds=[*THEIRS])
    clean, corrupted = (torch.tensor([[token.id for token in each]]) for each in (found.clean, found.corrupted))
    answers = [token.id for token in (found.answer, found.against) if token]
    bridge = every_model.bridge

    def effect(logits):
        return logits[0, -1, answers[0]] - logits[0, -1, answers[1]]

    with torch.no_grad():
        _, cache = bridge.run_with_cache(clean)
        for kind, name in THEIRS.items():
            grid = found.grid(kind)
            rows, columns = np.array(grid.recovery.shape)
            second = "head" if grid.of_heads else "pos"
            some = pd.DataFrame([(row, (3 * row) % columns) for row in range(0, rows, 4)], columns=["layer", second])
            theirs = getattr(patching, name)(bridge, corrupted, cache, effect, index_axis_names=None, index_df=some)
            ours = grid.values["logit_difference"][some["layer"], some[second]]
            assert np.allclose(ours, theirs.numpy(), atol=2e-4), kind
