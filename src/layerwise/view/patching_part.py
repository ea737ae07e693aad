"""Patch grids as a part of the view's document (docs/view-format.md)."""

from dataclasses import asdict
from typing import Any

import numpy as np

from layerwise.causal.alignment import as_json
from layerwise.causal.grid import PatchGrid, Patching
from layerwise.causal.outcomes import OUTCOMES, Outcome
from layerwise.text import one_line
from layerwise.types import Token
from layerwise.view.document import Json, packed, without_place

_DESCRIBED = {
    "recovery": ("recovery", "share"),
    "placebo": ("recovery under the placebo", "share"),
    "spread": ("spread of the recovery over draws", "share"),
    "logit_difference": ("logit difference", ""),
    "answer_logprob": ("log-probability of the answer", "nats"),
    "answer_rank": ("rank of the answer", "rank"),
    "kl_from_unpatched_bits": ("distance from the unpatched run", "bits"),
    "kl_from_source_bits": ("distance from the source", "bits"),
}
"""What a grid's numbers are called, and in which unit they are."""


def patching_part(patching: Patching) -> Json:
    """Return grids of one pair of prompts as the document holds them."""
    model = without_place(patching.model)
    return {
        "label": f"{one_line(model.name, limit=40)} · {patching.direction} · "
        f"{one_line(''.join(token.text for token in patching.patched), limit=40)}",
        "model": asdict(model),
        "direction": patching.direction,
        "effect": patching.effect,
        "clean": _tokens(patching.clean),
        "corrupted": _tokens(patching.corrupted),
        "alignment": as_json(patching.alignment),
        "answer": asdict(patching.answer),
        "against": asdict(patching.against) if patching.against else None,
        "unpatched": _outcome(patching.unpatched),
        "source": _outcome(patching.source),
        "window": patching.window,
        "noise": asdict(patching.noise) if patching.noise else None,
        "grids": [_grid(patching, grid) for grid in patching.grids],
        "described": {name: {"title": title, "unit": unit} for name, (title, unit) in _DESCRIBED.items()},
        "notes": [*_approximate(patching), *patching.notes],
        "versions": patching.versions,
    }


def _approximate(patching: Patching) -> list[str]:
    """Return which grids were not run cell by cell, and how far off they are."""
    return [
        f"{grid.kind} is approximate: {' '.join(grid.approximation.lines)}."
        for grid in patching.grids
        if grid.approximation
    ]


def _tokens(tokens: tuple[Token, ...]) -> list[list[Any]]:
    return [[token.id, token.text] for token in tokens]


def _outcome(outcome: Outcome) -> Json:
    """Return what a run says; null for what is not known of it."""
    numbers = {name: getattr(outcome, name) for name in OUTCOMES}
    return {name: None if np.isnan(value) else value for name, value in numbers.items()} | {"top": outcome.top}


def _grid(patching: Patching, grid: PatchGrid) -> Json:
    more = {name: getattr(grid, name) for name in ("recovery", "placebo", "spread")}
    values = {name: each for name, each in (more | grid.values).items() if each is not None}
    return {
        "kind": grid.kind,
        "blocks": list(grid.blocks),
        "heads" if grid.of_heads else "positions": list(grid.columns),
        "values": {name: packed(each) for name, each in values.items() if not np.isnan(each).all()},
        "cone": packed(causal_cone(patching, grid)),
    }


def causal_cone(patching: Patching, grid: PatchGrid) -> np.ndarray:
    """Return which cells can change what is read after the prompt, [row, column].

    The rest cannot, whatever is put there. Before the first token that differs both runs are the same at every layer;
    before the first block, wherever a token stands for the same one at the same position. Of the last block, what it
    adds at other positions than the last is never read, but for the stream that enters it.
    """
    reach = np.ones(grid.recovery.shape, dtype=bool)
    if grid.of_heads:
        return reach
    side = 1 if patching.direction == "denoise" else 0
    source = patching.clean if patching.direction == "denoise" else patching.corrupted
    theirs = {pair[side]: pair[1 - side] for pair in patching.alignment.pairs}
    last = len(patching.patched) - 1
    rows = [
        grid.blocks[max(0, row - patching.window // 2) : row + (patching.window + 1) // 2]
        for row in range(len(grid.blocks))
    ]
    for column, position in enumerate(grid.columns):
        same = theirs[position] == position and source[position].id == patching.patched[position].id
        for row, blocks in enumerate(rows):
            enters = grid.kind == "resid_pre" and max(blocks) == 0 and same and patching.noise is None
            never_read = grid.kind != "resid_pre" and min(blocks) == patching.model.n_layers - 1 and position != last
            reach[row, column] = position in patching.differing and not enters and not never_read
    return reach
