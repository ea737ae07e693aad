"""How a model calls its blocks: the arguments that its own forward makes for each."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache

from layerwise.capture.model_call import failures_told, taken
from layerwise.errors import UnsupportedModelError
from layerwise.models.anatomy.decoder import Parts
from layerwise.models.loading.loaded import LoadedModel

COMPILED = "_compiled_call_impl"
"""What PyTorch calls instead of `forward` in a module that was compiled in place (`block.compile()`)."""

_CALLED = ("forward", COMPILED)

_READABLE = "layerwise reads decoders whose blocks form one chain, each called once with the hidden state first."

_returned: WeakKeyDictionary[nn.Module, int | None] = WeakKeyDictionary()
"""By list of blocks: how long a tuple they return that begins with the hidden state; None for the state itself."""


@dataclass(frozen=True)
class BlockCall:
    """The arguments, apart from the hidden state, with which a model calls one of its blocks."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """Return the block's output for `hidden`."""
        return output_state(block(hidden, *self.args, **self.kwargs))


@torch.no_grad()
def record_block_calls(
    model: LoadedModel, ids: Int[Tensor, "sequence position"], cache: Cache | None = None
) -> tuple[Float[Tensor, "sequence position d_model"], list[BlockCall]]:
    """Return layer 0 and each block's call, from the model's own forward with its blocks left out.

    Raises:
        UnsupportedModelError: the model's forward fails so, or doesn't call each block once.
    """
    parts = model.parts
    if parts.blocks not in _returned and cache is not None:
        record_block_calls(model, ids[:1, :1])  # finds that out by running a block, which must not touch the cache
    seen: list[tuple[Tensor, BlockCall]] = []
    first = contextlib.nullcontext() if parts.blocks in _returned else model.residency.filled(0)
    refused = failures_told(_on_recorders(parts, "its forward fails"), _READABLE)
    with first, refused, replaced_forwards(parts.blocks, seen):
        cached = {} if cache is None else {"past_key_values": cache}
        parts.backbone(input_ids=ids, **taken(parts.backbone.forward, use_cache=cache is not None), **cached)
    if len(seen) != len(parts.blocks):
        raise _not_understood(parts, f"{len(seen)} calls of {len(parts.blocks)} blocks came where one of each is due")
    # Training asks for gradients of the embedded tokens, by a hook that doesn't mind torch.no_grad.
    hidden, calls = seen[0][0].detach(), [call for _, call in seen]
    if hidden.dim() != 3:  # Gemma 3n carries four states side by side
        raise _not_understood(parts, f"a hidden state of shape {tuple(hidden.shape)} came, not one per position")
    return hidden, calls


@contextlib.contextmanager
def replaced_forwards(blocks: nn.ModuleList, seen: list[tuple[Tensor, BlockCall]]) -> Iterator[None]:
    """Have every block note its call in `seen` and hand the hidden state on unchanged.

    It is handed on in the form in which the model's blocks return it, which the first recording
    finds out from the first block itself. Only the instances' `forward` is replaced, so that
    attributes which the model reads off its blocks stay; whatever `forward` an instance had before
    (accelerate sets one), compiled or not, comes back.
    """
    first = blocks[0].forward

    def note(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor | None, ...]:
        seen.append((hidden_states, BlockCall(args, kwargs)))
        if blocks not in _returned:
            with torch.no_grad():
                output = first(hidden_states, *args, **kwargs)
            _returned[blocks] = len(output) if isinstance(output, tuple) else None
        length = _returned[blocks]
        return hidden_states if length is None else (hidden_states, *[None] * (length - 1))

    before = [{name: block.__dict__[name] for name in _CALLED if name in block.__dict__} for block in blocks]
    try:
        for block in blocks:
            block.__dict__.pop(COMPILED, None)
            block.forward = note
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            block.__dict__.pop("forward", None)
            block.__dict__.update(own)


def _not_understood(parts: Parts, what: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"{_on_recorders(parts, what)}. {_READABLE}")


def _on_recorders(parts: Parts, what: str) -> str:
    """Return what a model does that does not run on recorders in its blocks' places."""
    return (
        f"{type(parts.backbone).__name__} does not call its blocks in a way that layerwise understands: with each "
        f"block only noting its call and handing the hidden state on, {what}"
    )


def output_state(output: Any) -> Tensor:
    """Return the hidden state from what a block returns: itself, or a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output
