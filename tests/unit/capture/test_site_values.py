"""Components: what `Model.capture` returns is what hooks on transformers' own modules see."""

import numpy as np
import pytest
import torch

import layerwise as lw
from benchmarks.tiny import always_streamed
from layerwise.errors import PromptError, UnsupportedModelError
from layerwise.models.residency.residency import Streamed
from layerwise.sites import Site

PROMPT = "The capital of Germany is"

STREAM_AND_PARTS = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "mlp_post")


def hooked(model, modules, prompt=PROMPT):
    """Return what enters ("<") or leaves modules in transformers' own forward on a prompt, by name."""
    hf, ids, seen, hooks = model.hf, model.tokenizer(prompt)["input_ids"], {}, []

    def note(name, value):
        value = value[0] if isinstance(value, tuple) else value
        seen[name] = value[0].clone()

    for name in modules:
        module = hf.get_submodule(name.lstrip("<"))
        if name.startswith("<"):
            hooks.append(module.register_forward_pre_hook(lambda _m, args, name=name: note(name, args)))
        else:
            hooks.append(module.register_forward_hook(lambda _m, _a, out, name=name: note(name, out)))
    try:
        with torch.no_grad():
            hf(input_ids=torch.tensor([ids]), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: value.numpy() for name, value in seen.items()}


QWEN3 = {
    "resid_mid": "<model.layers.2.post_attention_layernorm",
    "resid_post": "model.layers.2",
    "attn_out": "model.layers.2.self_attn",
    "mlp_out": "model.layers.2.mlp",
    "q": "model.layers.2.self_attn.q_proj",
    "k": "model.layers.2.self_attn.k_proj",
    "z": "<model.layers.2.self_attn.o_proj",
    "mlp_post": "<model.layers.2.mlp.down_proj",
}
GEMMA2 = QWEN3 | {
    "resid_mid": "<model.layers.2.pre_feedforward_layernorm",
    "attn_out": "model.layers.2.post_attention_layernorm",
    "mlp_out": "model.layers.2.post_feedforward_layernorm",
}


@pytest.mark.parametrize(("family", "modules"), [("qwen3", QWEN3), ("gemma2", GEMMA2)])
def test_values_are_those_that_hooks_on_transformers_modules_see(load_family, family, modules):
    model = load_family(family)
    sites = [Site(2, kind) for kind in modules]
    captured = model.capture(PROMPT, sites)
    expected = hooked(model, modules.values())
    assert list(captured) == [str(site) for site in sites]
    for site, module in zip(sites, modules.values(), strict=True):
        values = captured[str(site)]
        assert values.dtype == np.float32
        assert np.array_equal(values.reshape(len(values), -1), expected[module]), site


def test_a_pattern_is_transformers_own_attention(load_family):
    model = load_family("qwen3")
    captured = model.capture(PROMPT, ["blocks.1.attn.hook_pattern", "blocks.1.attn.hook_pattern[3]"], positions="1,4")
    model.hf.set_attn_implementation("eager")
    try:
        ids = torch.tensor([model.tokenizer(PROMPT)["input_ids"]])
        with torch.no_grad():
            theirs = model.hf(input_ids=ids, use_cache=False, output_attentions=True).attentions[1][0].numpy()
    finally:
        model.hf.set_attn_implementation("sdpa")
    whole, one = captured.values()
    assert np.array_equal(whole, theirs[:, [1, 4]])
    assert np.array_equal(one, theirs[3][[1, 4]])
    assert np.allclose(whole.sum(-1), 1, atol=1e-6)


def test_the_stream_is_its_parts_and_the_states_of_a_trace(load_family):
    model = load_family("gemma2")
    captured = model.capture(PROMPT, ["resid_pre", "attn_out", "mlp_out", "resid_post"])
    trace = model.trace(PROMPT, positions="all")
    for block in range(model.n_layers):
        pre, attention, mlp, post = (
            captured[str(Site(block, kind))] for kind in ("resid_pre", "attn_out", "mlp_out", "resid_post")
        )
        assert np.allclose(pre + attention + mlp, post, rtol=1e-4, atol=1e-4)
        assert np.allclose(np.linalg.norm(pre, axis=-1), trace.residual_norm[block], rtol=1e-4)
        assert np.allclose(np.linalg.norm(post, axis=-1), trace.residual_norm[block + 1], rtol=1e-4)


def test_shapes_and_heads(load_family):
    model = load_family("qwen3")
    info, count = model.info, len(model.tokenizer(PROMPT)["input_ids"])
    captured = model.capture(PROMPT, [Site(0, kind) for kind in (*STREAM_AND_PARTS, "pattern")])
    shapes = {Site.parse(name).kind: values.shape for name, values in captured.items()}
    d_head = model.hf.config.head_dim
    assert shapes["resid_mid"] == shapes["attn_out"] == (count, info.d_model)
    assert shapes["q"] == shapes["z"] == (count, info.n_heads, d_head)
    assert shapes["k"] == shapes["v"] == (count, info.n_kv_heads, d_head)
    assert shapes["pattern"] == (info.n_heads, count, count)
    assert shapes["mlp_post"] == (count, model.hf.config.intermediate_size)
    one = model.capture(PROMPT, "blocks.0.attn.hook_z[1]", positions="last")
    # Beside a pattern, attention is computed step by step: measured 1e-7.
    assert np.allclose(one["blocks.0.attn.hook_z[1]"], captured["blocks.0.attn.hook_z"][-1:, 1], atol=1e-5)


def test_a_batch_is_its_prompts_one_by_one(load_family):
    model = load_family("qwen3")
    prompts = [PROMPT, "Paris", "The capital of France is", PROMPT]
    together = model.capture_all([lw.Request(prompt, positions="0,-1") for prompt in prompts], ["z", "resid_post"])
    for prompt, captured in zip(prompts, together, strict=True):
        alone = model.capture(prompt, ["z", "resid_post"], positions=[0, -1])
        assert captured.keys() == alone.keys()
        assert all(np.array_equal(captured[name], alone[name]) for name in alone)


def test_a_streamed_model_gives_the_same(family_folder):
    folder = family_folder("gemma2")
    sites = [*STREAM_AND_PARTS, "pattern"]
    whole = lw.load(folder, device="cpu").capture(PROMPT, sites)
    with always_streamed():
        fed = lw.load(folder, device="cpu")
    assert isinstance(fed._loaded.residency, Streamed)
    streamed = fed.capture(PROMPT, sites)
    assert streamed.keys() == whole.keys()
    assert all(np.array_equal(streamed[name], whole[name]) for name in whole)


def test_what_an_architecture_lacks_is_refused_with_what_it_has(decoder):
    model = decoder("GPTJConfig")
    with pytest.raises(UnsupportedModelError, match=r"no blocks\.0\.hook_resid_mid: .*attn_out"):
        model.capture(PROMPT, ["resid_mid"])
    assert "blocks.1.attn.hook_z" in model.capture(PROMPT, ["z"])


@pytest.mark.parametrize(
    ("sites", "said"),
    [
        ([], "No site was asked for"),
        (["blocks.1.hook_dreams"], "names no site"),
        (["dreams"], "names no site"),
        (["blocks.99.attn.hook_z"], "no block 99"),
        (["blocks.0.attn.hook_k[7]"], r"no blocks\.0\.attn\.hook_k\[7\]: there are 2"),
    ],
)
def test_a_site_that_is_none_is_refused(tiny, sites, said):
    with pytest.raises(PromptError, match=said):
        tiny.capture(PROMPT, sites)


def test_no_hook_and_no_setting_stays(load_family):
    model = load_family("qwen3")

    def hooks():
        return [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.hf.modules()]

    before = hooks()
    model.capture(PROMPT, ["z", "pattern"])
    assert hooks() == before
    assert model.hf.config._attn_implementation == "sdpa"
