"""Sites inside blocks against hooks on transformers' own modules, whose names are written here by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from layerwise.errors import UnsupportedModelError
from layerwise.models.anatomy.eager import eager_attention
from layerwise.sites import KINDS, Site
from tests.watching import BLOCK, D_HEAD, IDS, make, watch

Take = Callable[[Any, Tensor], Tensor]
"""A site's values from the block and what passes at a module."""


def heads(_: Any, values: Tensor) -> Tensor:
    return values.view(1, IDS.shape[1], -1, D_HEAD)


def third(index: int) -> Take:
    """Return one of queries, keys and values that follow one another."""
    return lambda block, values: heads(block, values.split(64, dim=-1)[index])


def of_head(index: int) -> Take:
    """Return one of query, key and value of each head."""
    return lambda _, values: values.view(1, IDS.shape[1], 4, 3 * D_HEAD).chunk(3, dim=-1)[index]


def phi3(first: int, last: int) -> Take:
    return lambda block, values: heads(block, values[..., first:last])


def falcon(index: int) -> Take:
    """Return what Falcon's own code cuts out; where that is a copy, the part of the projection that it is a copy of."""

    def take(block: Any, values: Tensor) -> Tensor:
        cut = block.self_attention._split_heads(values)[index]
        if not block.self_attention.multi_query:
            return cut
        part = values.view(1, IDS.shape[1], -1, D_HEAD)[..., (slice(0, -2), slice(-2, -1), slice(-1, None))[index], :]
        assert torch.equal(part, cut)
        return part

    return take


def bloom(index: int) -> Take:
    return lambda block, values: block.self_attention._reshape(values)[index].transpose(1, 2)


def codegen(index: int) -> Take:
    """Return one of queries, values and keys; the four cores of a processor had a head each."""
    return lambda block, values: values.view(1, IDS.shape[1], 4, 48).split(D_HEAD, dim=-1)[index]


def positions(_: Any, values: Tensor) -> Tensor:
    return values.view(1, IDS.shape[1], -1)


def scaled(block: Any, values: Tensor) -> Tensor:
    return values * block.residual_multiplier


@dataclass(frozen=True)
class ByHand:
    """A family's modules: by kind the name, ``>`` before what enters it or after what leaves it, and what to take."""

    config: str
    sites: dict[str, str | tuple[str, Take]]
    settings: dict[str, Any] = field(default_factory=dict)


def in_heads(attention: str, output: str) -> dict[str, str | tuple[str, Take]]:
    projections = {kind: (f"{attention}.{kind}_proj>", heads) for kind in "qkv"}
    return {**projections, "z": (f">{attention}.{output}", heads), "pattern": f"{attention}>"}


LLAMA = {
    "resid_mid": ">post_attention_layernorm",
    "attn_out": "self_attn>",
    "mlp_out": "mlp>",
    "mlp_post": ">mlp.down_proj",
    **in_heads("self_attn", "o_proj"),
}
GEMMA2 = LLAMA | {
    "resid_mid": ">pre_feedforward_layernorm",
    "attn_out": "post_attention_layernorm>",
    "mlp_out": "post_feedforward_layernorm>",
}
GPT = {"attn_out": "attn>", "mlp_out": "mlp>", "z": (">attn.c_proj", heads), "pattern": "attn>"}
SIDE_BY_SIDE = {"resid_mid": ""}
NEOX = {
    "resid_mid": "",
    "attn_out": "attention>",
    "mlp_out": "mlp>",
    "z": (">attention.dense", heads),
    "pattern": "attention>",
    "mlp_post": ">mlp.dense_4h_to_h",
    **{kind: ("attention.query_key_value>", of_head(index)) for index, kind in enumerate("qkv")},
}
FALCON = {
    "resid_mid": "",
    "attn_out": "self_attention>",
    "mlp_out": "mlp>",
    "z": (">self_attention.dense", heads),
    "pattern": "self_attention>",
    "mlp_post": ">mlp.dense_4h_to_h",
    **{kind: ("self_attention.query_key_value>", falcon(index)) for index, kind in enumerate("qkv")},
}

FAMILIES = {
    "llama": ByHand("LlamaConfig", LLAMA),
    "mistral": ByHand("MistralConfig", LLAMA),
    "qwen2": ByHand("Qwen2Config", LLAMA),
    "qwen3": ByHand("Qwen3Config", LLAMA),
    "qwen3-moe": ByHand("Qwen3MoeConfig", LLAMA | {"mlp_post": ""}),
    "gemma2": ByHand("Gemma2Config", GEMMA2, {"attn_logit_softcapping": 2.0}),
    "gemma3": ByHand("Gemma3TextConfig", GEMMA2),
    "gemma4": ByHand("Gemma4TextConfig", GEMMA2 | {"attn_out": "", "mlp_out": ""}),
    "olmo2": ByHand("Olmo2Config", GEMMA2 | {"resid_mid": ">mlp"}),
    "glm4": ByHand("Glm4Config", LLAMA | {"attn_out": "post_self_attn_layernorm>", "mlp_out": "post_mlp_layernorm>"}),
    "granite": ByHand(
        "GraniteConfig",
        LLAMA | {"attn_out": ("self_attn>", scaled), "mlp_out": ("mlp>", scaled)},
        {"residual_multiplier": 0.3},
    ),
    "phi3": ByHand(
        "Phi3Config",
        LLAMA
        | {
            kind: ("self_attn.qkv_proj>", phi3(*cut))
            for kind, cut in {"q": (0, 64), "k": (64, 96), "v": (96, 128)}.items()
        },
    ),
    "phi": ByHand(
        "PhiConfig",
        LLAMA | SIDE_BY_SIDE | {"mlp_post": ">mlp.fc2", "z": (">self_attn.dense", heads)},
    ),
    "cohere": ByHand("CohereConfig", LLAMA | SIDE_BY_SIDE),
    "stablelm": ByHand("StableLmConfig", LLAMA),
    "stablelm side by side": ByHand("StableLmConfig", LLAMA | SIDE_BY_SIDE, {"use_parallel_residual": True}),
    "starcoder2": ByHand("Starcoder2Config", LLAMA | {"mlp_post": ">mlp.c_proj"}),
    "gpt2": ByHand(
        "GPT2Config",
        GPT
        | {"resid_mid": ">ln_2", "mlp_post": ">mlp.c_proj"}
        | {kind: ("attn.c_attn>", third(index)) for index, kind in enumerate("qkv")},
    ),
    "gpt-j": ByHand(
        "GPTJConfig",
        GPT | in_heads("attn", "out_proj") | {"resid_mid": "", "mlp_post": ">mlp.fc_out"},
    ),
    "gpt-neo": ByHand(
        "GPTNeoConfig",
        GPT | in_heads("attn.attention", "out_proj") | {"resid_mid": ">ln_2", "mlp_post": ">mlp.c_proj"},
    ),
    "gpt-neox": ByHand("GPTNeoXConfig", NEOX),
    "gpt-neox one by one": ByHand(
        "GPTNeoXConfig", NEOX | {"resid_mid": ">post_attention_layernorm"}, {"use_parallel_residual": False}
    ),
    "falcon": ByHand("FalconConfig", FALCON, {"parallel_attn": True}),
    "falcon one by one": ByHand(
        "FalconConfig",
        FALCON | {"resid_mid": ">post_attention_layernorm"},
        {"parallel_attn": False, "multi_query": False, "alibi": True},
    ),
    "bloom": ByHand(
        "BloomConfig",
        {
            "resid_mid": ">post_attention_layernorm",
            "attn_out": "self_attention.dense>",
            "mlp_out": "mlp.dense_4h_to_h>",
            "z": (">self_attention.dense", heads),
            "pattern": "self_attention>",
            "mlp_post": ">mlp.dense_4h_to_h",
            **{kind: ("self_attention.query_key_value>", bloom(index)) for index, kind in enumerate("qkv")},
        },
    ),
    "mpt": ByHand(
        "MptConfig",
        {
            "resid_mid": ">norm_2",
            "attn_out": "attn>",
            "mlp_out": "ffn.down_proj>",
            "z": (">attn.out_proj", heads),
            "pattern": "attn>",
            "mlp_post": ">ffn.down_proj",
            **{kind: ("attn.Wqkv>", third(index)) for index, kind in enumerate("qkv")},
        },
    ),
    "opt": ByHand(
        "OPTConfig",
        {
            "resid_mid": (">final_layer_norm", positions),
            "attn_out": "self_attn>",
            "mlp_out": ("fc2>", positions),
            "mlp_post": (">fc2", positions),
            **in_heads("self_attn", "out_proj"),
        },
    ),
    "deepseek-v3": ByHand(
        "DeepseekV3Config", LLAMA | {"mlp_post": "", "q": "", "k": "", "v": "", "z": (">self_attn.o_proj", heads)}
    ),
    "codegen": ByHand(
        "CodeGenConfig",
        GPT
        | {"resid_mid": "", "mlp_post": ">mlp.fc_out", "z": (">attn.out_proj", heads)}
        | {kind: ("attn.qkv_proj>", codegen(index)) for index, kind in enumerate("qvk")},
    ),
    "mamba": ByHand("MambaConfig", dict.fromkeys(set(KINDS) - {"resid_pre", "resid_post"}, "")),
}


def listen(block: Any, kind: str, where: str | tuple[str, Take], heard: dict[str, Tensor]) -> None:
    """Register a hook where a family's table says."""
    path, take = where if isinstance(where, tuple) else (where, lambda _, values: values)
    module = block.get_submodule(path.strip(">"))

    def hear(passing: Any) -> None:
        values = passing[int(kind == "pattern")] if isinstance(passing, tuple) else passing
        heard[kind] = take(block, values).clone()

    if path.startswith(">"):
        module.register_forward_pre_hook(lambda _, args: hear(args[0]))
    else:
        module.register_forward_hook(lambda _, __, output: hear(output))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_site_is_what_a_hook_on_transformers_own_module_sees(family):
    by_hand = FAMILIES[family]
    hf_model, blocks, anatomy = make(by_hand.config, **by_hand.settings)
    sites = {kind: where for kind, where in by_hand.sites.items() if where}
    heard: dict[str, Tensor] = {}
    blocks[BLOCK - 1].register_forward_hook(lambda *args: heard.update(resid_pre=output_of(args[-1])))
    blocks[BLOCK + 1].register_forward_pre_hook(lambda _, args: heard.update(resid_post=args[0].clone()))
    for kind, where in sites.items():
        listen(blocks[BLOCK], kind, where, heard)
    seen = watch(hf_model, anatomy, anatomy.kinds(BLOCK))
    assert seen.keys() == heard.keys() == set(anatomy.kinds(BLOCK))
    for kind, values in heard.items():
        assert torch.equal(seen[kind], values), kind


def output_of(returned: Any) -> Tensor:
    return (returned[0] if isinstance(returned, tuple) else returned).clone()


NO_HOOK_CHANGES = ("pattern",)
"""Kinds that no hook can change: what a module returns of them is not what it computed with."""


def add_by_hand(block: Any, where: str | tuple[str, Take], changes: dict[str, Tensor], kind: str) -> Any:
    """Register a hook that adds to a kind's values in transformers' own tensors, where a family's table says."""
    path, take = where if isinstance(where, tuple) else (where, lambda _, values: values)
    module = block.get_submodule(path.strip(">"))

    def change(passing: Any) -> None:
        values = passing[0] if isinstance(passing, tuple) else passing
        if take is scaled:
            values += changes[kind] / block.residual_multiplier
        else:
            view = take(block, values)
            assert view.untyped_storage().data_ptr() == values.untyped_storage().data_ptr()
            view += changes[kind]

    if path.startswith(">"):
        return module.register_forward_pre_hook(lambda _, args: change(args[0]))
    return module.register_forward_hook(lambda _, __, output: change(output))


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_changed_site_changes_the_output_as_a_hook_on_transformers_own_module_does(family):
    by_hand = FAMILIES[family]
    hf_model, blocks, anatomy = make(by_hand.config, **by_hand.settings)
    seen = watch(hf_model, anatomy, anatomy.kinds(BLOCK))
    added = {kind: torch.zeros_like(values) for kind, values in seen.items() if kind not in NO_HOOK_CHANGES}
    for values in added.values():
        values[:, 4] = torch.randn(values[:, 4].shape, generator=torch.Generator().manual_seed(0))
    plain = hf_model(IDS, use_cache=False).logits
    for kind, where in by_hand.sites.items():
        if not where or kind in NO_HOOK_CHANGES:
            continue
        hook = add_by_hand(blocks[BLOCK], where, added, kind)
        expected = hf_model(IDS, use_cache=False).logits
        hook.remove()
        with anatomy.editing(BLOCK, {kind: lambda values, kind=kind: values + added[kind]}):
            found = hf_model(IDS, use_cache=False).logits
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5), kind
        # Of experts other tokens may run side by side now.
        assert torch.allclose(found[:, :4], plain[:, :4], rtol=1e-5, atol=1e-5), kind
        assert not torch.allclose(found[:, 4:], plain[:, 4:], atol=1e-3), kind
        with anatomy.editing(BLOCK, {kind: lambda values: values}):
            assert torch.equal(hf_model(IDS, use_cache=False).logits, plain), kind


@pytest.mark.parametrize("family", [name for name, each in FAMILIES.items() if each.sites["resid_mid"]])
@torch.no_grad()
def test_what_is_added_between_attention_and_mlp_is_as_if_attention_had_added_it(family):
    by_hand = FAMILIES[family]
    hf_model, _, anatomy = make(by_hand.config, **by_hand.settings)
    if "attn_out" not in anatomy.kinds(BLOCK):
        pytest.skip("nothing that attention adds is known here")
    added = torch.randn(64, generator=torch.Generator().manual_seed(0))
    found = []
    for kind in ("resid_mid", "attn_out"):
        with anatomy.editing(BLOCK, {kind: lambda values: values + added}):
            found.append(hf_model(IDS, use_cache=False).logits)
    assert torch.allclose(*found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", [name for name, each in FAMILIES.items() if each.sites["pattern"]])
@torch.no_grad()
def test_a_changed_pattern_sums_the_values_by_it(family):
    """Of the last head, whose query then sees the first token alone: what it hands on is that token's value."""
    by_hand = FAMILIES[family]
    hf_model, _, anatomy = make(by_hand.config, **by_hand.settings)
    seen = watch(hf_model, anatomy, ["z", "pattern"])
    handed: dict[str, Tensor] = {}

    def first_alone(pattern: Tensor) -> Tensor:
        pattern[:, -1] = 0
        pattern[:, -1, :, 0] = 1
        return pattern

    def hear(site: Site, values: Tensor) -> None:
        handed[site.kind] = values

    with eager_attention(hf_model), anatomy.watching(BLOCK, ["z", "pattern"], hear):
        try:
            with anatomy.editing(BLOCK, {"pattern": first_alone}):
                hf_model(IDS, use_cache=False)
        except UnsupportedModelError as error:
            assert "computes its weights in a way of its own" in str(error)
            return
    assert torch.equal(handed["pattern"], first_alone(seen["pattern"].clone()))
    assert torch.equal(handed["z"][:, :, :-1], seen["z"][:, :, :-1])
    of_first = seen["z"][:, :1, -1]  # at the first position there is nothing else to see
    assert torch.allclose(handed["z"][:, :, -1], of_first.expand_as(handed["z"][:, :, -1]), atol=1e-5)
