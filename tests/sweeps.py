"""Sweeps as tests run them."""

from collections.abc import Sequence

from torch import Tensor

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.loop import drive
from layerwise.capture.sweep import Sweep
from layerwise.models.loading.loaded import LoadedModel
from layerwise.types import Progress


def states_of(model: LoadedModel, passes: Sequence[ForwardPass], progress: Progress | None = None) -> Tensor:
    """Return the residual streams of passes, [place, layer, d_model]."""
    sweep = Sweep(model, passes, progress=progress)
    drive(model, [sweep])
    return sweep.states
