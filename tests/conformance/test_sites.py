"""Sites inside the blocks of every family: what they add up to, and TransformerLens's own values for them."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from layerwise.models.anatomy.block_taps import attention_of
from layerwise.models.anatomy.eager import eager_attention
from layerwise.models.anatomy.head_taps import output_projection
from layerwise.sites import Site

IDS = torch.arange(5, 14)[None]

NO_ATTENTION = {"mamba", "mamba2", "zamba2"}
"""Families no block of which has attention by itself; zamba2's is in a module that blocks share."""
NOT_THE_SUM_OF_VALUES = {"qwen3-next", "gemma4"}
"""A gate lies before the output projection, or values are normed."""
SINKS = {"gpt-oss"}
"""Families whose heads can look at nothing, so that the rest of a row is less than 1."""
NOT_IN_TRANSFORMER_LENS = {
    "qwen3-next",  # its queries come with their gates, uncut
    "recurrent-gemma",  # nothing inside blocks
}
"""Families whose bridge has none, or only some, of the sites that there are, or others."""


@torch.no_grad()
def watched(model) -> list[dict[str, Tensor]]:
    """Return for each block the values of all its sites."""
    loaded = model._loaded
    found: list[dict[str, Tensor]] = []
    for index in range(loaded.n_layers):
        seen: dict[str, Tensor] = {}
        has = loaded.anatomy.kinds(index)
        with (
            eager_attention(loaded.hf),
            loaded.residency.attached(),
            loaded.anatomy.watching(index, has, lambda site, values, seen=seen: seen.update({site.kind: values})),
        ):
            loaded.hf(IDS, use_cache=False)
        assert seen.keys() == set(has)
        found.append(seen)
    return found


@pytest.fixture(scope="module")
def blocks(name, whole):
    return watched(whole(name))


def close(got: Tensor, expected: Tensor, relative: float) -> bool:
    return bool(((got - expected).abs() <= relative * expected.abs().max()).all())


def test_the_stream_is_the_sum_of_what_is_added_to_it(blocks):
    for seen in blocks:
        if {"resid_mid", "attn_out"} < seen.keys():
            assert close(seen["resid_pre"] + seen["attn_out"], seen["resid_mid"], 1e-6)
        if {"resid_mid", "mlp_out"} < seen.keys():
            assert close(seen["resid_mid"] + seen["mlp_out"], seen["resid_post"], 1e-6)
        elif "attn_out" in seen and "mlp_out" in seen:
            assert close(seen["resid_pre"] + seen["attn_out"] + seen["mlp_out"], seen["resid_post"], 1e-6)


def test_what_leaves_a_block_enters_the_next(blocks):
    for seen, after in pairwise(blocks):
        assert torch.equal(seen["resid_post"], after["resid_pre"])


def test_patterns_look_backwards_only(blocks, name):
    patterns = [seen["pattern"] for seen in blocks if "pattern" in seen]
    assert bool(patterns) == (name not in NO_ATTENTION)
    for pattern in patterns:
        assert not pattern.triu(1).any()
        assert pattern.sum(-1).amax() < 1 + 1e-5
        assert (name in SINKS) == (pattern.sum(-1).amin() < 1 - 1e-5)


def test_heads_sum_values_by_their_pattern(blocks, name):
    """So values are cut in the right places, and the patterns are those that the model uses."""
    for seen in blocks:
        if {"v", "z", "pattern"} <= seen.keys():
            values = seen["v"].repeat_interleave(seen["z"].shape[2] // seen["v"].shape[2], dim=2)
            sums = torch.einsum("shqk,skhd->sqhd", seen["pattern"], values)
            assert close(sums, seen["z"], 1e-5) == (name not in NOT_THE_SUM_OF_VALUES)
            assert seen["q"].shape == seen["z"].shape
            assert seen["k"].shape == seen["v"].shape


@torch.no_grad()
def test_heads_through_the_output_projection_are_what_attention_adds(blocks, name, whole):
    """Before a norm after attention: there, and where the block scales, the sum with the stream says it."""
    for block, seen in zip(whole(name)._loaded.parts.blocks, blocks, strict=True):
        if {"z", "attn_out"} <= seen.keys() and name not in ("gemma2", "gemma3", "olmo2"):
            attention = attention_of(block)
            assert attention is not None
            projection = output_projection(attention)
            assert projection is not None
            projected = projection(seen["z"].flatten(-2))
            assert close(projected, seen["attn_out"], 1e-6)


@pytest.mark.parametrize("family", ["qwen3", "gemma2", "gpt2", "falcon", "mixtral", "jamba"])
def test_streamed_blocks_are_watched_like_whole_ones(family, whole, streamed):
    for here, there in zip(watched(whole(family)), watched(streamed(family)), strict=True):
        assert here.keys() == there.keys()
        # Mixtures of experts and recurrent blocks may differ in the last bits, and then all that follows.
        assert all(close(there[kind], here[kind], 1e-5) for kind in here)


def test_sites_are_those_of_transformer_lens(name, whole, blocks):
    if name in NOT_IN_TRANSFORMER_LENS:
        pytest.skip("TransformerLens has other sites there")
    with torch.no_grad():
        _, cache = whole(name).bridge.run_with_cache(IDS)
    compared = set()
    for index, seen in enumerate(blocks):
        for kind, values in seen.items():
            if str(Site(index, kind)) in cache:
                assert close(values, cache[str(Site(index, kind))].reshape(values.shape), 1e-4), (index, kind)
                compared.add(kind)
    assert compared == {kind for seen in blocks for kind in seen}
