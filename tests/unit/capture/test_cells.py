"""Edits of one text side by side: each is what it would be alone."""

import pytest
import torch

from layerwise.capture import cells as cells_module
from layerwise.capture.cells import Cell, Cells
from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.loop import drive
from layerwise.capture.row_calls import RowCall
from layerwise.errors import PromptError
from layerwise.interventions import changes
from layerwise.sites import Site
from tests.sweeps import states_of

IDS = (5, 6, 7, 8, 9, 3, 4)
LAST = len(IDS) - 1


def vectors(count, width=64, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def run(model, cells):
    running = Cells(model._loaded, IDS, cells)
    drive(model._loaded, [running])
    return running


def close(found, wanted):
    """Whether states are the same but for the order of sums. The least of these edits moves them forty times as far."""
    return torch.allclose(found, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


def alone(model, cell):
    return states_of(model._loaded, [ForwardPass(IDS, (LAST,), cell.edits)])[0, -1]


CELLS = [
    Cell((changes.zero(Site(1, "mlp_out"), (3,)),), 3),
    Cell((changes.zero(Site(1, "attn_out"), (3,)),), 3),
    Cell((changes.scale(Site(0, "resid_pre"), -1.0, (2,)),), 2),
    Cell((changes.put(Site(3, "resid_post"), vectors(1), (LAST,)),), LAST),
    Cell((changes.add(Site(2, "z", 1), vectors(1, 16)[0], (2, 5)),), 2),
    Cell((changes.zero(Site(2, "k", 0), (3, 4)), changes.zero(Site(0, "v", 1), (4,))), 3),
    Cell((changes.zero(Site(2, "q"), (LAST,)),), LAST),
    Cell((changes.zero(Site(3, "mlp_post")),), 0),
    Cell((changes.project_out(Site(1, "resid_mid"), vectors(2), (4, 6)), changes.zero(Site(2, "resid_pre"), (5,))), 4),
]


def test_every_cell_is_its_edits_made_alone_and_the_text_stays_as_it_is(tiny):
    running = run(tiny, CELLS)
    assert running.last.shape == (len(CELLS), 64)
    for found, cell in zip(running.last, CELLS, strict=True):
        assert close(found, alone(tiny, cell)), cell
    assert close(running.last_of_text, alone(tiny, Cell(())))


def test_order_of_cells_and_size_of_batches_change_nothing(tiny, monkeypatch):
    usual = run(tiny, CELLS).last
    assert close(run(tiny, CELLS[::-1]).last.flip(0), usual)
    monkeypatch.setattr(cells_module, "_TOKENS_AT_ONCE", 1)
    assert close(run(tiny, CELLS).last, usual)


def test_cells_run_from_their_first_edit_and_position_on(tiny, monkeypatch):
    ran = []
    original = RowCall.__call__

    def counted(call, block, hidden):
        ran.append(hidden.shape[0] * hidden.shape[1])
        return original(call, block, hidden)

    monkeypatch.setattr(RowCall, "__call__", counted)
    run(tiny, [Cell((changes.zero(Site(block, "resid_pre"), (5,)),), 5) for block in range(4)])
    assert ran == [1 * 2, 2 * 2, 3 * 2, 4 * 2]


def test_changes_of_nothing_are_the_text(tiny):
    states = states_of(tiny._loaded, [ForwardPass(IDS, tuple(range(len(IDS))))])
    same = [
        Cell((changes.put(Site(block, "resid_pre"), states[p, block][None], (p,)),), p)
        for block in range(4)
        for p in (1, 6)
    ]
    running = run(tiny, [*same, Cell((changes.scale(Site(1, "mlp_out"), 1.0),))])
    assert close(running.last, running.last_of_text.expand_as(running.last))


def test_another_texts_layer_0_everywhere_gives_its_output(tiny):
    other = tuple(reversed(IDS))
    everywhere = tuple(range(len(IDS)))
    states = states_of(tiny._loaded, [ForwardPass(other, everywhere)])
    [found] = run(tiny, [Cell((changes.put(Site(0, "resid_pre"), states[:, 0]),))]).last
    assert close(found, states[-1, -1])


def test_a_cell_outside_the_text_is_refused(tiny):
    with pytest.raises(PromptError, match=r"begin at position 7; expected 0 to 6"):
        Cells(tiny._loaded, IDS, [Cell((), 7)])


def test_blocks_done_are_told(tiny):
    told = []
    running = Cells(tiny._loaded, IDS, CELLS, progress=lambda *each: told.append(each))
    drive(tiny._loaded, [running])
    assert told == [("running the model", done, 4) for done in range(5)]
