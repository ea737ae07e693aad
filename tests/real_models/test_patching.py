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


@pytest.mark.parametrize("kind", ["attn_out", "k", "v", "z"])
def test_attribution_patching_is_autograd_s_gradient_times_the_difference(every_model, kind):
    """Under grouped-query attention and Gemma's norms after attention: by hooks on transformers' own modules."""
    pair, block = PAIRS[0], every_model.n_layers // 2
    found = lw.patch(every_model, *pair, kinds=kind, approximate=True)
    layer = every_model.hf.model.layers[block]
    after = getattr(layer, "pre_feedforward_layernorm", None) and layer.post_attention_layernorm
    module = {"attn_out": after or layer.self_attn, "z": layer.self_attn.o_proj}.get(kind)
    module = module or getattr(layer.self_attn, f"{kind}_proj")
    seen = []

    def keep(_module, args, output):
        value = args[0] if kind == "z" else output[0] if isinstance(output, tuple) else output
        value.retain_grad()
        seen.append(value)

    assert found.against is not None
    embeddings = every_model.hf.get_input_embeddings()
    hooks = [
        embeddings.register_forward_hook(lambda _m, _a, out: out.requires_grad_(True)),
        module.register_forward_hook(keep),
    ]
    try:
        for tokens in (found.corrupted, found.clean):
            ids = torch.tensor([[token.id for token in tokens]])
            logits = every_model.hf(input_ids=ids, use_cache=False).logits[0, -1]
            if len(seen) == 1:
                (logits[found.answer.id] - logits[found.against.id]).backward()
    finally:
        for hook in hooks:
            hook.remove()
    own, source = seen
    moves = (own.grad * (source - own)).detach()[0]
    grid = found.grid(kind)
    of_heads = moves.unflatten(-1, (len(grid.columns) if grid.of_heads else 1, -1)).sum(-1)
    expected = (of_heads.sum(0) if grid.of_heads else of_heads[:, 0]).numpy()
    mine = grid.values["logit_difference"][block] - found.unpatched.logit_difference
    assert np.abs(expected).max() > 1e-3
    assert np.allclose(mine, expected, atol=1e-3 * np.abs(expected).max() + 1e-5)
