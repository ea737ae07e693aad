"""Grids of edits that run side by side, on every family, against one hook at a time on transformers' own forward."""

import pytest
import torch

from layerwise.capture.cells import Cell, Cells
from layerwise.capture.loop import drive
from layerwise.interventions import changes
from layerwise.models.anatomy.decoder import find_parts
from layerwise.sites import Site
from tests.conformance.conftest import CASES

IDS = torch.arange(13).mul(37).remainder(500)
OTHER = torch.arange(13).mul(53).remainder(500)
POSITIONS = (0, 4, 12)


@torch.no_grad()
def states(hf_model, ids):
    """What enters each block, [block, position, d_model]."""
    blocks, entering = find_parts(hf_model).blocks, []
    hooks = [
        block.register_forward_pre_hook(
            lambda _, args, kwargs: entering.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
        )
        for block in blocks
    ]
    hf_model(input_ids=ids[None], use_cache=False)
    for hook in hooks:
        hook.remove()
    return torch.cat(entering)


@torch.no_grad()
def patched(hf_model, block, position, state):
    """What leaves the last block at the last position when one state that enters a block is another."""
    leaving = {}

    def put(_, args, kwargs):
        hidden = (args[0] if args else kwargs["hidden_states"]).clone()
        hidden[:, position] = state
        return ((hidden, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": hidden})

    def keep(_, __, output):
        leaving["states"] = output[0] if isinstance(output, tuple) else output

    blocks = find_parts(hf_model).blocks
    hooks = [
        blocks[block].register_forward_pre_hook(put, with_kwargs=True),
        blocks[-1].register_forward_hook(keep),
    ]
    hf_model(input_ids=IDS[None], use_cache=False)
    for hook in hooks:
        hook.remove()
    return leaving["states"][0, -1]


def grid(model, source):
    """Every block and some positions, each with one state of the other text."""
    return {
        (block, position): Cell(
            (changes.put(Site(block, "resid_pre"), source[block, position][None], (position,)),), position
        )
        for block in range(model.n_layers)
        for position in POSITIONS
    }


def run(model, cells):
    with model.computing() as loaded:
        running = Cells(loaded, tuple(IDS.tolist()), cells)
        drive(loaded, [running])
        return running.last


@pytest.mark.parametrize("name", CASES)
def test_each_cell_is_the_model_with_one_state_changed(whole, name):
    model = whole(name)
    source = states(model.hf, OTHER)
    cells = grid(model, source)
    found = run(model, [*cells.values()])
    for row, (block, position) in zip(found, cells, strict=True):
        expected = patched(model.hf, block, position, source[block, position])
        scale = expected.abs().max()
        assert torch.allclose(row, expected, rtol=0, atol=1e-4 * float(scale)), (block, position)


@pytest.mark.parametrize("name", ["qwen3", "gemma3", "gpt2", "mixtral", "falcon-h1"])
def test_a_streamed_model_has_the_same(whole, streamed, name):
    source = states(whole(name).hf, OTHER)
    in_memory, from_disk = (run(model, [*grid(model, source).values()]) for model in (whole(name), streamed(name)))
    assert torch.allclose(in_memory, from_disk, rtol=0, atol=1e-4 * float(in_memory.abs().max()))
