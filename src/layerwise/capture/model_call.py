"""Calling a model's own forward with no more than it takes."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.errors import UnsupportedModelError
from layerwise.models.loading.loaded import LoadedModel


def taken(forward: Callable[..., Any], **wanted: Any) -> dict[str, Any]:
    """Return those of some arguments that a forward takes.

    Code that comes with a model may be older than `logits_to_keep`, and have no ``**kwargs``.
    """
    parameters = inspect.signature(forward).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return wanted
    return {name: value for name, value in wanted.items() if name in parameters}


@contextlib.contextmanager
def failures_told(what: str, advice: str) -> Iterator[None]:
    """Raise UnsupportedModelError where a model's code fails in the block: `what` fails, with which error, `advice`."""
    try:
        yield
    except torch.OutOfMemoryError:  # a RuntimeError, but no fault of the model
        raise
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise UnsupportedModelError(f"{what} ({type(error).__name__}: {error}). {advice}") from error


def run_model(
    model: LoadedModel, ids: Int[Tensor, "sequence position"], *, use_cache: bool = False, cache: Any = None
) -> tuple[Float[Tensor, "sequence token"], Any]:
    """Return the logits after the last position, as the model's own forward gives them, and its cache if it has one.

    Raises:
        UnsupportedModelError: the forward returns no logits.
    """
    takes = taken(model.hf.forward, use_cache=use_cache, logits_to_keep=1, past_key_values=cache)
    if cache is None:
        takes.pop("past_key_values", None)
    with failures_told(
        f"{type(model.hf).__name__} cannot be read layer by layer: its own forward fails on {ids.shape[1]} tokens",
        "If the model brings its own code, that may be older than the transformers that is installed: try "
        "`transformers` by itself first.",
    ):
        output = model.hf(input_ids=ids, **takes)
    logits = output[0] if isinstance(output, tuple) else getattr(output, "logits", None)
    if not isinstance(logits, Tensor) or logits.dim() != 3:
        raise UnsupportedModelError(
            f"{type(model.hf).__name__} cannot be read layer by layer: its forward returns no logits, by position and "
            "token, that a readout could be compared with."
        )
    takes_cache = "past_key_values" in taken(model.hf.forward, past_key_values=None)
    return logits[:, -1], getattr(output, "past_key_values", None) if takes_cache else None
