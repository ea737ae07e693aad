"""What a model goes on with while it is edited."""

import torch

from layerwise.capture.edits import Edit, attention_for
from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.loop import drive
from layerwise.capture.own_forward import end_ids
from layerwise.capture.sweep import Sweep
from layerwise.models.loading.loaded import LoadedModel


@torch.no_grad()
def generate_edited(model: LoadedModel, ids: tuple[int, ...], count: int, edits: tuple[Edit, ...]) -> tuple[int, ...]:
    """Return up to `count` ids that a model under edits continues `ids` with, always its likeliest.

    Stops where `generate_greedily` does. Each token takes a pass over the whole text: its edits are made in it, and
    nothing is kept that another edit made.
    """
    ends, made = end_ids(model), list[int]()
    while len(made) < count and not (made and made[-1] in ends):
        text = (*ids, *made)
        with attention_for(model, [edit.site for edit in edits]):
            sweep = Sweep(model, [ForwardPass(text, (len(text) - 1,), edits)])
            drive(model, [sweep])
        normed = model.output_head.normed(sweep.states[:, -1])
        made.append(int(model.output_head.logits(normed)[0].argmax()))
    return tuple(made)
