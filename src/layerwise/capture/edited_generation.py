"""What a model goes on with while it is edited."""

from collections.abc import Sequence

import torch

from layerwise.capture.edits import Edit, attention_for
from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.loop import drive
from layerwise.capture.own_forward import end_ids
from layerwise.capture.sweep import Sweep
from layerwise.models.loading.loaded import LoadedModel
from layerwise.types import Progress


def generate_edited(model: LoadedModel, ids: tuple[int, ...], count: int, edits: tuple[Edit, ...]) -> tuple[int, ...]:
    """Return up to `count` ids that a model under edits continues `ids` with, always its likeliest."""
    return generate_side_by_side(model, ids, count, [edits])[0]


@torch.no_grad()
def generate_side_by_side(
    model: LoadedModel,
    ids: tuple[int, ...],
    count: int,
    every: Sequence[tuple[Edit, ...]],
    progress: Progress | None = None,
) -> list[tuple[int, ...]]:
    """Return up to `count` ids that a model continues `ids` with, always its likeliest, under each of several edits.

    Each stops where `generate_greedily` does. Each token takes a pass over the whole texts: edits are made in it, and
    nothing is kept that another edit made.
    """
    ends, made = end_ids(model), [list[int]() for _ in every]
    for done in range(count):
        going = [index for index, tokens in enumerate(made) if not (tokens and tokens[-1] in ends)]
        if not going:
            break
        if progress:
            progress("writing on", done, count)
        texts = [(*ids, *made[index]) for index in going]
        passes = [ForwardPass(text, (len(text) - 1,), every[index]) for index, text in zip(going, texts, strict=True)]
        with attention_for(model, [edit.site for edits in every for edit in edits]):
            sweep = Sweep(model, passes)
            drive(model, [sweep])
        for index, state in zip(going, sweep.states[:, -1], strict=True):
            logits = model.output_head.logits(model.output_head.normed(state[None]))
            made[index].append(int(logits[0].argmax()))
    return [tuple(tokens) for tokens in made]
