"""What PyTorch is set to while a model is loaded or read."""

import contextlib
from collections.abc import Iterator

import torch

from layerwise.errors import ModelError

_AUTOCAST = ("cpu", "cuda", "mps")
"""Kinds of devices that it may be on for."""


@contextlib.contextmanager
def without_gradients() -> Iterator[None]:
    """Compute without gradients, and with ordinary tensors of ordinary precision, whatever the caller has set.

    What is made in inference mode can't be changed in place outside of it, and its changes are not counted. Under
    another default precision, numbers would be rounded to it that are float32 everywhere else.

    Raises:
        ModelError: torch.autocast is on, under which a model's products have another precision than its weights.
    """
    if any(map(torch.is_autocast_enabled, _AUTOCAST)):
        raise ModelError(
            "torch.autocast is on here: it computes products in another precision than the model's weights have, so "
            "numbers would not be those of the model as it is described. Call layerwise outside of that block; for "
            'half precision, load the model with dtype="bfloat16".'
        )
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        torch.set_default_dtype(default)
