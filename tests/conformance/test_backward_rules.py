"""The R lens's backward rules: forwards nothing changes, and backwards each is the derivative written by hand."""

import pytest
import torch
from torch.nn import functional

from layerwise.errors import UnsupportedModelError
from layerwise.fitting.jacobian import JacobianSums
from layerwise.models.anatomy.backward_rules import r_rules
from tests.conformance.conftest import CASES
from tests.conformance.test_jacobians import LENGTH, SKIPPED, TEXTS, error, expected

REFUSED = {
    *("qwen3-moe", "qwen3-next", "llama4", "mixtral", "gemma4", "recurrent-gemma", "gpt-oss", "deepseek-v2"),
    *("deepseek-v3", "lfm2", "mamba", "mamba2", "jamba", "bamba", "zamba2"),
}


def silu(z):
    return z * torch.sigmoid(z).detach()


def gelu_tanh(z):
    return z * (0.5 * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (z + 0.044715 * z**3)))).detach()


def rms_norm(gain, epsilon):
    return lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon).detach() * gain


def layer_norm(norm):
    def forward(x):
        values = x - x.mean(-1, keepdim=True)
        scale = torch.rsqrt(values.square().mean(-1, keepdim=True) + norm.eps).detach()
        return values * scale * norm.weight + norm.bias

    return forward


def gated(mlp, activation):
    def forward(x):
        gate, up = activation(mlp.gate_proj(x)), mlp.up_proj(x)
        return mlp.down_proj(0.5 * (gate * up.detach() + gate.detach() * up))

    return forward


def by_hand_qwen3(block):
    for norm in (block.input_layernorm, block.post_attention_layernorm):
        norm.forward = rms_norm(norm.weight, norm.variance_epsilon)
    block.mlp.forward = gated(block.mlp, silu)


def by_hand_gemma2(block):
    for norm in (block.input_layernorm, block.pre_feedforward_layernorm):
        norm.forward = rms_norm(1 + norm.weight, norm.eps)
    block.mlp.forward = gated(block.mlp, gelu_tanh)


def by_hand_gpt2(block):
    for norm in (block.ln_1, block.ln_2):
        norm.forward = layer_norm(norm)
    block.mlp.act.forward = gelu_tanh


def changed_modules(block):
    return [module for module in block.modules() if "forward" in module.__dict__]


@pytest.mark.parametrize(
    ("name", "by_hand"), [("qwen3", by_hand_qwen3), ("gemma2", by_hand_gemma2), ("gpt2", by_hand_gpt2)]
)
def test_gradients_are_those_of_rules_written_by_hand(whole, name, by_hand):
    loaded = whole(name)._loaded
    sums = JacobianSums(loaded, length=LENGTH, skipped=SKIPPED, rules=r_rules)
    sums.add(TEXTS)
    plain = expected(loaded.hf)
    for block in loaded.parts.blocks:
        by_hand(block)
    try:
        wanted = expected(loaded.hf)
    finally:
        for block in loaded.parts.blocks:
            for module in changed_modules(block):
                del module.forward
    for layer, translator in sums.translators().items():
        assert error(translator.matrix, wanted[layer]) < 1e-4, f"layer {layer}"
        assert error(translator.matrix, plain[layer]) > 1e-2, "the rules change something"


@pytest.mark.parametrize("name", [name for name in CASES if name not in REFUSED])
def test_forwards_nothing_changes(whole, name):
    loaded = whole(name)._loaded
    hidden = torch.randn(2, 7, loaded.hf.config.get_text_config().hidden_size, generator=torch.manual_seed(0))
    outputs = []

    def replaced(_, args, kwargs):
        entering = hidden.clone().requires_grad_(True)
        return ((entering, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": entering})

    def keep(_, __, output):
        outputs.append(output[0] if isinstance(output, tuple) else output)

    block = loaded.parts.blocks[1]
    hooks = [block.register_forward_pre_hook(replaced, with_kwargs=True), block.register_forward_hook(keep)]
    loaded.hf(input_ids=TEXTS[:, :7], use_cache=False)
    with r_rules(block):
        loaded.hf(input_ids=TEXTS[:, :7], use_cache=False)
    for hook in hooks:
        hook.remove()
    plain, ruled = outputs
    assert torch.equal(plain, ruled)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_blocks_that_no_rule_is_made_for_are_refused_by_name(whole, name):
    blocks = whole(name)._loaded.parts.blocks
    with pytest.raises(UnsupportedModelError, match=r"backward rules are not defined for \w+: "):
        for block in blocks:
            with r_rules(block):
                pass


@pytest.mark.parametrize("activation", [functional.silu, functional.gelu, functional.relu])
def test_an_activation_is_a_straight_line_through_where_it_is(activation):
    from layerwise.models.anatomy.backward_rules import _straighten_activation

    class Activation(torch.nn.Module):
        def forward(self, z):
            return activation(z)

    module = Activation()
    z = torch.tensor([-30.0, -1.0, -1e-20, 0.0, 1e-9, 0.3, 40.0], requires_grad=True)
    output = _straighten_activation(module, (z,), module(z))
    assert torch.equal(output, activation(z))
    output.sum().backward()
    assert z.grad is not None
    large = z.detach().abs() > 0.1
    assert torch.allclose(z.grad[large], (activation(z) / z).detach()[large])
    near_zero = activation(torch.tensor(1e-4)) / 1e-4
    assert torch.allclose(z.grad[~large], near_zero.expand(3), atol=1e-4)
