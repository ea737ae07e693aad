"""The Jacobian estimator on every family, against autograd on transformers' own forward, and the other way round."""

import pytest
import torch

from layerwise.fitting.jacobian import JacobianSums
from layerwise.models.anatomy.decoder import find_parts
from layerwise.models.libraries.computed import copy_of
from tests.conformance.conftest import CASES

SKIPPED, LENGTH = 3, 11
IN_DOUBLE_PRECISION = ["gemma4"]
"""Families whose gradient, found so, is 1e-4 off in float32."""
TEXTS = torch.arange(2 * LENGTH).mul(37).remainder(500).view(2, LENGTH)


def expected(hf_model):
    """J of every layer, from how the last layer's sum answers one change of all states at a layer."""
    blocks, places = find_parts(hf_model).blocks, slice(SKIPPED, LENGTH - 1)
    width = hf_model.config.get_text_config().hidden_size
    changes = torch.zeros(len(blocks), width, dtype=hf_model.dtype, requires_grad=True)
    leaving = {}

    def add(layer, args, kwargs):
        hidden = (args[0] if args else kwargs["hidden_states"]).clone()
        hidden[:, places] += changes[layer]
        return ((hidden, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": hidden})

    def keep(_, __, output):
        leaving["states"] = output[0] if isinstance(output, tuple) else output

    hooks = [blocks[-1].register_forward_hook(keep)]
    for layer, block in enumerate(blocks):
        hooks.append(block.register_forward_pre_hook(lambda _, *called, at=layer: add(at, *called), with_kwargs=True))
    hf_model(input_ids=TEXTS, use_cache=False)
    for hook in hooks:
        hook.remove()
    total = leaving["states"][:, places].sum(dim=(0, 1)) / (LENGTH - 1 - SKIPPED) / len(TEXTS)
    rows = [torch.autograd.grad(each, changes, retain_graph=True)[0] for each in total]
    return torch.stack(rows, dim=1).float()


def error(found, wanted):
    return (found - wanted).norm() / wanted.norm()


def fitted(model):
    sums = JacobianSums(model._loaded, length=LENGTH, skipped=SKIPPED)
    sums.add(TEXTS)
    return sums.translators()


@pytest.mark.parametrize("name", CASES)
def test_it_is_the_mean_of_what_autograd_finds(whole, name):
    loaded = whole(name)._loaded
    wanted = expected(copy_of(loaded.hf).double() if name in IN_DOUBLE_PRECISION else loaded.hf)
    found = fitted(whole(name))
    assert list(found) == list(range(loaded.n_layers))
    for layer, translator in found.items():
        assert error(translator.matrix, wanted[layer]) < 1e-4, f"layer {layer}"


def test_no_graph_stays_on_a_model_whose_blocks_keep_their_state(whole):
    """Such a model could neither be copied, as for `bridge`, nor would the memory of its last fit come back."""
    model = whole("recurrent-gemma")
    fitted(model)
    kept = [each for module in model._loaded.hf.modules() for each in vars(module).values() if torch.is_tensor(each)]
    assert kept
    assert not any(each.requires_grad for each in kept)


@pytest.mark.parametrize("name", ["qwen3", "gemma3", "gpt2", "mixtral", "falcon-h1"])
def test_a_streamed_model_has_the_same(whole, streamed, name):
    """Up to rounding: all cotangents go down together, in products of other shapes. 1.4e-5 with AVX2 (mixtral)."""
    in_memory, from_disk = fitted(whole(name)), fitted(streamed(name))
    for layer, translator in in_memory.items():
        assert error(from_disk[layer].matrix, translator.matrix) < 1e-4, f"layer {layer}"
