"""What can be read inside blocks: what is refused, what is found out when a block runs, and attention's weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from layerwise.errors import CheckError, PromptError, UnsupportedModelError
from layerwise.models.anatomy.eager import eager_attention
from layerwise.sites import KINDS
from tests.watching import BLOCK, D_HEAD, IDS, make, watch


@pytest.mark.parametrize(
    ("config", "settings", "kind", "reason"),
    [
        ("GPTJConfig", {}, "resid_mid", "GPTJBlock runs attention and MLP side by side"),
        ("FalconConfig", {"new_decoder_architecture": True, "num_kv_heads": 2}, "resid_mid", "side by side"),
        ("MambaConfig", {}, "pattern", "MambaBlock has no attention"),
        ("MambaConfig", {}, "mlp_out", "MambaBlock has no MLP"),
        ("Qwen3NextConfig", {}, "q", "Qwen3NextDecoderLayer has no attention"),
        ("Qwen3MoeConfig", {}, "mlp_post", "experts have their neurons apart"),
        ("DeepseekV3Config", {}, "k", "keys and values from a state that its heads share"),
        ("FalconH1Config", {}, "attn_out", "adds attention and mamba to the stream together"),
        ("Gemma4TextConfig", {}, "mlp_out", r"does more .* \(layer_scalar, per_layer_input_gate\)"),
        ("BloomConfig", {"apply_residual_connection_post_layernorm": True}, "attn_out", "norms the stream itself"),
        ("GraniteMoeHybridConfig", {}, "mlp_out", "2 MLPs side by side"),
        ("JetMoeConfig", {}, "z", "has no heads of one width"),
    ],
)
def test_what_a_block_lacks_is_refused_with_the_reason_and_what_it_has(config, settings, kind, reason):
    hf_model, _, anatomy = make(config, **settings)
    index = 0
    expected = (
        f"{type(hf_model).__name__} has no blocks.0.*{reason}.*What can be read in this block: resid_pre, .*resid_post"
    )
    with pytest.raises(UnsupportedModelError, match=expected):
        anatomy.expect(index, ["resid_pre", kind])
    with pytest.raises(UnsupportedModelError, match=reason), anatomy.watching(index, [kind], lambda *_: None):
        pytest.fail("nothing may run")
    assert kind not in anatomy.kinds(index)


@pytest.mark.parametrize("index", [-1, 4])
def test_there_is_no_such_block(index):
    _, _, anatomy = make("LlamaConfig")
    with pytest.raises(PromptError, match=f"no block {index}: this model's are 0 to 3"):
        anatomy.kinds(index)


def test_hybrids_differ_from_block_to_block():
    _, _, anatomy = make("JambaConfig")
    assert "z" not in anatomy.kinds(0)
    assert {"z", "attn_out"} < set(anatomy.kinds(1))


@pytest.mark.parametrize(
    ("config", "settings", "kv_heads"),
    [
        ("FalconConfig", {"new_decoder_architecture": True, "num_kv_heads": 2, "alibi": False}, 2),
        ("FalconConfig", {"multi_query": True}, 1),
        ("FalconConfig", {"multi_query": False, "alibi": True}, 4),
        ("GPTBigCodeConfig", {"multi_query": True}, 1),
        ("GPTBigCodeConfig", {"multi_query": False}, 4),
        ("CodeGenConfig", {"num_attention_heads": 8}, 8),
        ("Phi3Config", {}, 2),
        ("GPTNeoXConfig", {}, 4),
    ],
)
def test_values_cut_from_one_projection_are_those_that_heads_sum(config, settings, kv_heads):
    hf_model, _, anatomy = make(config, **settings)
    seen = watch(hf_model, anatomy, ["v", "k", "q", "z", "pattern"])
    assert seen["k"].shape == seen["v"].shape
    assert seen["v"].shape[2] == kv_heads
    assert seen["q"].shape == seen["z"].shape
    values = seen["v"].repeat_interleave(seen["z"].shape[2] // kv_heads, dim=2)
    assert torch.allclose(torch.einsum("shqk,skhd->sqhd", seen["pattern"], values), seen["z"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "settings"),
    [("GPT2Config", {}), ("OPTConfig", {}), ("GPTBigCodeConfig", {}), ("GPTBigCodeConfig", {"multi_query": False})],
)
def test_queries_and_keys_make_the_pattern_where_positions_are_embedded_like_tokens(config, settings):
    hf_model, _, anatomy = make(config, **settings)
    seen = watch(hf_model, anatomy, ["q", "k", "pattern"])
    keys = seen["k"].repeat_interleave(seen["q"].shape[2] // seen["k"].shape[2], dim=2)
    scores = torch.einsum("sqhd,skhd->shqk", seen["q"], keys) / D_HEAD**0.5
    past = torch.ones(IDS.shape[1], IDS.shape[1]).tril().bool()
    assert torch.allclose(scores.masked_fill(~past, -torch.inf).softmax(-1), seen["pattern"], atol=1e-5)


def test_a_projection_that_cuts_in_an_unknown_way_is_refused():
    _, blocks, anatomy = make("GPT2Config")
    blocks[BLOCK].attn.__class__ = type("ForeignAttention", (type(blocks[BLOCK].attn),), {})
    with pytest.raises(
        UnsupportedModelError, match="where ForeignAttention's c_attn has queries, keys and values is not"
    ):
        anatomy.expect(BLOCK, ["q"])
    assert "z" in anatomy.kinds(BLOCK)


def become(block: Any, forward: Callable[..., Any]) -> None:
    """Give a block another forward, which is handed its class's own and the arguments."""
    own = type(block).forward
    block.__class__ = type(
        "Changed", (type(block),), {"forward": lambda *args, **kwargs: forward(own, *args, **kwargs)}
    )


def test_a_block_that_does_more_than_to_add_its_parts_is_found_out_when_it_runs():
    hf_model, blocks, anatomy = make("LlamaConfig")
    become(blocks[BLOCK], lambda own, *args, **kwargs: own(*args, **kwargs) * 1.001)
    assert watch(hf_model, anatomy, ["attn_out", "z", "resid_post"]).keys() == {"attn_out", "z", "resid_post"}
    for kind in ("mlp_out", "resid_mid"):
        with pytest.raises(UnsupportedModelError, match=r"block 1 of .*, resid_post is not resid_mid \+ mlp_out"):
            watch(hf_model, anatomy, [kind])


def test_a_stream_that_does_not_come_from_attention_is_found_out_when_the_block_runs():
    hf_model, blocks, anatomy = make("Gemma2Config")
    blocks[BLOCK].post_attention_layernorm.register_forward_hook(lambda _, __, output: output * 1.001)
    watch(hf_model, anatomy, ["attn_out"])  # the stream gets what the norm is made to give
    blocks[BLOCK + 1].pre_feedforward_layernorm.register_forward_pre_hook(lambda _, args: (args[0] * 1.001,))
    with pytest.raises(UnsupportedModelError, match=r"resid_mid is not resid_pre \+ attn_out"):
        watch(hf_model, anatomy, ["attn_out"], BLOCK + 1)


def test_laws_are_checked_the_first_time_only():
    hf_model, blocks, anatomy = make("LlamaConfig")
    watch(hf_model, anatomy, ["resid_mid"])
    become(blocks[BLOCK], lambda own, *args, **kwargs: own(*args, **kwargs) * 1.001)
    assert watch(hf_model, anatomy, ["resid_mid"]).keys() == {"resid_mid"}


def test_a_module_that_runs_twice_is_found_out():
    hf_model, blocks, anatomy = make("LlamaConfig")
    become(blocks[BLOCK], lambda own, block, x, **kwargs: own(block, own(block, x, **kwargs), **kwargs))
    seen: list[Tensor] = []
    with (
        pytest.raises(UnsupportedModelError, match="passed the place of its z 2 times in one run"),
        anatomy.watching(BLOCK, ["z"], lambda _, values: seen.append(values)),
    ):
        hf_model(IDS, use_cache=False)


def test_a_block_may_run_several_times():
    hf_model, _, anatomy = make("LlamaConfig")
    seen: list[Tensor] = []
    with torch.no_grad(), anatomy.watching(BLOCK, ["attn_out"], lambda _, values: seen.append(values)):
        hf_model(IDS, use_cache=False)
        hf_model(IDS[:, :4].repeat(3, 1), use_cache=False)
    assert [tuple(values.shape) for values in seen] == [(1, 9, 64), (3, 4, 64)]


def test_values_that_are_not_finite_break_no_law():
    hf_model, blocks, anatomy = make("LlamaConfig")
    blocks[0].register_forward_hook(lambda _, __, output: output * torch.inf)
    assert watch(hf_model, anatomy, ["resid_mid", "mlp_out"])["mlp_out"].isnan().any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_laws_hold_within_the_rounding_of_half_precision(dtype):
    for config in ("LlamaConfig", "GPTJConfig", "GraniteConfig", "Gemma2Config"):
        settings = {"residual_multiplier": 0.22} if config == "GraniteConfig" else {}
        hf_model, _, anatomy = make(config, **settings)
        seen = watch(hf_model.to(dtype), anatomy, ["attn_out", "mlp_out"])
        assert seen["attn_out"].dtype == dtype


def test_a_stream_that_overflows_breaks_no_law():
    hf_model, blocks, anatomy = make("LlamaConfig")
    hf_model.half()
    blocks[0].register_forward_hook(lambda _, __, output: output / output.abs().max() * 65000)
    blocks[BLOCK].mlp.register_forward_hook(lambda _, __, output: output / output.abs().max() * 65000)
    seen = watch(hf_model, anatomy, ["resid_post", "mlp_out"])
    assert seen["mlp_out"].isfinite().all()
    assert seen["resid_post"].isinf().any()


def test_a_block_may_be_watched_by_two():
    hf_model, _, anatomy = make("LlamaConfig")
    seen: list[Tensor] = []
    with anatomy.watching(BLOCK, ["mlp_out"], lambda _, values: seen.append(values)):
        seen.append(watch(hf_model, anatomy, ["mlp_out"])["mlp_out"])
    assert torch.equal(*seen)


def test_what_was_seen_stays_as_it_was():
    """Falcon adds what attention gives to what its MLP gave, in place."""
    hf_model, blocks, anatomy = make("FalconConfig", parallel_attn=True)
    copied: list[Tensor] = []
    blocks[BLOCK].mlp.register_forward_hook(lambda _, __, output: copied.append(output.clone()))
    assert torch.equal(watch(hf_model, anatomy, ["mlp_out"])["mlp_out"], copied[0])


def test_hooks_are_gone_afterwards_whatever_happens():
    hf_model, _, anatomy = make("LlamaConfig")

    def fail(*_: object) -> None:
        raise KeyError("while looking")

    with pytest.raises(KeyError), anatomy.watching(BLOCK, KINDS[:-1], fail):
        hf_model(IDS, use_cache=False)
    hooks = [(m._forward_hooks, m._forward_pre_hooks) for m in hf_model.modules()]
    assert not any(before or behind for behind, before in hooks)
    hf_model(IDS, use_cache=False)


def test_a_pattern_needs_eager_attention():
    hf_model, _, anatomy = make("LlamaConfig")
    assert hf_model.config._attn_implementation == "sdpa"
    with (
        pytest.raises(UnsupportedModelError, match=r"no numbers where its pattern was expected: .*eager_attention\(\)"),
        anatomy.watching(BLOCK, ["pattern"], lambda *_: None),
    ):
        hf_model(IDS, use_cache=False)


def test_attention_to_later_positions_is_an_error():
    """transformers' Falcon, asked for weights while a fused kernel is chosen, has no mask for them."""
    hf_model, _, anatomy = make("FalconConfig")
    with (
        pytest.raises(CheckError, match="block 1 of FalconForCausalLM has weight on later positions"),
        anatomy.watching(BLOCK, ["pattern"], lambda *_: None),
    ):
        hf_model(IDS, use_cache=False, output_attentions=True)
    seen = watch(hf_model, anatomy, ["pattern"])["pattern"]
    assert not seen.triu(1).any()


def test_positions_before_the_first_query_may_be_seen():
    hf_model, _, anatomy = make("LlamaConfig")
    seen: list[Tensor] = []
    with torch.no_grad(), eager_attention(hf_model):
        cache = hf_model(IDS[:, :5], use_cache=True).past_key_values
        with anatomy.watching(BLOCK, ["pattern"], lambda _, values: seen.append(values)):
            hf_model(IDS[:, 5:], past_key_values=cache)
    assert seen[0].shape == (1, 4, 4, 9)
    assert seen[0][:, :, 0, :6].all()
    assert not seen[0][:, :, 0, 6:].any()


@pytest.mark.parametrize("config", ["LlamaConfig", "FalconConfig", "Gemma3Config", "MambaConfig"])
@torch.no_grad()
def test_eager_attention_gives_every_configuration_its_own_back(config):
    hf_model, *_ = make(config)
    before = hf_model(IDS, use_cache=False).logits
    chosen = [module.config._attn_implementation for module in hf_model.modules() if hasattr(module, "config")]
    with pytest.raises(KeyError), eager_attention(hf_model):
        inside = {module.config._attn_implementation for module in hf_model.modules() if hasattr(module, "config")}
        assert inside == {"eager"}
        raise KeyError
    assert [m.config._attn_implementation for m in hf_model.modules() if hasattr(m, "config")] == chosen
    assert torch.equal(hf_model(IDS, use_cache=False).logits, before)
