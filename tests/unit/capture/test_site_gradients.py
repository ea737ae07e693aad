"""Gradients at sites are those that autograd gives at transformers' own modules in the model's whole forward."""

import pytest
import torch

import layerwise as lw
from benchmarks.tiny import always_streamed, byte_tokenizer, tiny_config, tiny_model
from layerwise.capture import backward
from layerwise.capture.site_gradients import site_gradients
from layerwise.causal.attribution import gradient_of_effect
from layerwise.errors import CheckError, UnsupportedModelError
from layerwise.sites import Site

IDS = (5, 9, 31, 44, 8, 61, 7)
ANSWER, AGAINST = 30, 41

LLAMA = {
    "resid_pre": "<model.layers.{}",
    "resid_mid": "<model.layers.{}.post_attention_layernorm",
    "resid_post": "model.layers.{}",
    "attn_out": "model.layers.{}.self_attn",
    "mlp_out": "model.layers.{}.mlp",
    "q": "model.layers.{}.self_attn.q_proj",
    "k": "model.layers.{}.self_attn.k_proj",
    "v": "model.layers.{}.self_attn.v_proj",
    "z": "<model.layers.{}.self_attn.o_proj",
    "mlp_post": "<model.layers.{}.mlp.down_proj",
}
GEMMA = LLAMA | {
    "resid_mid": "<model.layers.{}.pre_feedforward_layernorm",
    "attn_out": "model.layers.{}.post_attention_layernorm",
    "mlp_out": "model.layers.{}.post_feedforward_layernorm",
}
GPT2 = {
    "resid_mid": "<transformer.h.{}.ln_2",
    "attn_out": "transformer.h.{}.attn",
    "mlp_out": "transformer.h.{}.mlp",
    "z": "<transformer.h.{}.attn.c_proj",
}
GRANITE_PARTS = ("attn_out", "mlp_out")
"""What Granite scales before it adds them: their gradients are the modules' divided by the scale."""

FAMILIES = {
    "qwen3": ("Qwen3Config", {}, LLAMA),
    "gemma3": ("Gemma3TextConfig", {}, GEMMA),
    "gemma2": ("Gemma2Config", {"final_logit_softcapping": 10.0, "attn_logit_softcapping": 2.0}, GEMMA),
    "granite": ("GraniteConfig", {"residual_multiplier": 0.22, "logits_scaling": 3.0}, LLAMA),
    "gpt2": ("GPT2Config", {}, GPT2),
}


def made(config, settings):
    import transformers

    return lw.load(tiny_model(tiny_config(getattr(transformers, config), **settings)), tokenizer=byte_tokenizer())


def by_hand(hf, modules, effect):
    """Return the gradient of an effect at what enters (<) or leaves modules, by one backward pass of the whole."""
    seen = {}

    def keep(name, value):
        seen[name] = value[0] if isinstance(value, tuple) else value
        seen[name].retain_grad()

    hooks = [hf.get_input_embeddings().register_forward_hook(lambda _m, _a, out: out.requires_grad_(True))]
    for name in modules:
        module = hf.get_submodule(name.removeprefix("<"))
        if name.startswith("<"):
            hooks.append(
                module.register_forward_pre_hook(
                    lambda _m, args, kwargs, name=name: keep(name, next(iter((*args, *kwargs.values())))),
                    with_kwargs=True,
                )
            )
        else:
            hooks.append(module.register_forward_hook(lambda _m, _a, out, name=name: keep(name, out)))
    try:
        effect(hf(input_ids=torch.tensor([IDS]), use_cache=False).logits[0, -1]).backward()
    finally:
        for hook in hooks:
            hook.remove()
    return {name: value.grad[0] for name, value in seen.items()}


def difference(logits):
    return logits[ANSWER] - logits[AGAINST]


def logprob(logits):
    return logits.log_softmax(-1)[ANSWER]


def gradients(model, sites, against: int | None = AGAINST):
    with model.computing() as loaded:
        return site_gradients(
            loaded, IDS, sites, lambda last: gradient_of_effect(loaded.output_head, last, ANSWER, against)
        )


@pytest.mark.parametrize("effect", [difference, logprob])
@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_are_those_of_a_backward_pass_through_transformers_modules(family, effect):
    config, settings, modules = FAMILIES[family]
    model = made(config, settings)
    sites = {Site(block, kind): name.format(block) for block in (0, 2, 3) for kind, name in modules.items()}
    found = gradients(model, [*sites], AGAINST if effect is difference else None)
    expected = by_hand(model.hf, sites.values(), effect)
    assert [*found] and {*found} == {*map(str, sites)}
    for site, module in sites.items():
        scale = settings.get("residual_multiplier", 1) if site.kind in GRANITE_PARTS else 1
        mine, theirs = found[str(site)].flatten(1), expected[module] / scale
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max())), site
        assert float(theirs.abs().max()) > 0, "a site without any gradient compares nothing"


def test_a_streamed_model_s_gradients_are_the_resident_one_s(family_folder, load_family):
    with always_streamed():
        streamed = lw.load(family_folder("qwen3"), device="cpu")
    sites = [Site(block, kind) for block in range(4) for kind in LLAMA]
    for against in (AGAINST, None):
        there, here = (gradients(model, sites, against) for model in (streamed, load_family("qwen3")))
        for site in map(str, sites):
            assert torch.allclose(there[site], here[site], rtol=1e-4, atol=1e-4 * float(here[site].abs().max())), site


@pytest.mark.parametrize("family", ["qwen3", "gemma3"])
def test_a_fused_attention_kernel_lets_the_gradients_of_heads_through(family, monkeypatch):
    """As in texts longer than those whose patterns are kept; the oracle's attention goes step by step."""
    config, settings, modules = FAMILIES[family]
    model = made(config, settings)
    sites = {Site(block, kind): modules[kind].format(block) for block in range(4) for kind in "qkvz"}
    monkeypatch.setattr(backward, "_SHORT", 0)
    found = gradients(model, [*sites])
    model.hf.set_attn_implementation("eager")
    expected = by_hand(model.hf, sites.values(), difference)
    for site, module in sites.items():
        mine, theirs = found[str(site)].flatten(1), expected[module]
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max())), site
        assert float(theirs.abs().max()) > 0


def test_a_part_without_a_derivative_is_no_part_that_does_nothing(monkeypatch):
    model = made("Qwen3Config", {})
    projection = model.hf.model.layers[1].self_attn.v_proj
    plain = projection.forward
    monkeypatch.setattr(projection, "forward", lambda x: plain(x).detach())
    with pytest.raises(UnsupportedModelError, match="Block 1 of Qwen3ForCausalLM computes its v without a derivative"):
        gradients(model, [Site(1, "v")])


def test_gradients_that_are_not_finite_are_refused(load_family):
    with load_family("qwen3").computing() as loaded, pytest.raises(CheckError, match="gradient is NaN or infinite"):
        site_gradients(loaded, IDS, [Site(2, "z")], lambda last: last * torch.inf)
