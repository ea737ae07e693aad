"""The one loop: residual streams at every layer, layers outside, groups of prompts inside."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from layerwise.capture.plan import Sequence, group_by_length
from layerwise.errors import UnsupportedModelError
from layerwise.models.blocks import Parts
from layerwise.models.loading import LoadedModel

_TOKENS_AT_ONCE = 2048
"""A block's activations for so many tokens take some tens of MB at the widths that run on laptops."""

_returns_tuple: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""By list of blocks: whether they return a tuple that begins with the hidden state, or the state itself."""


@dataclass(frozen=True)
class BlockCall:
    """The arguments, apart from the hidden state, with which a model calls one of its blocks."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self, block: nn.Module, hidden: Tensor) -> Tensor:
        """Return the block's output for `hidden`."""
        return output_state(block(hidden, *self.args, **self.kwargs))


@dataclass
class _Group:
    """Sequences of one length on their way up."""

    indices: list[int]
    hidden: Float[Tensor, "sequence position d_model"]
    calls: list[BlockCall]
    kept: list[list[Tensor]] = field(default_factory=list)


@torch.no_grad()
def capture(
    model: LoadedModel, sequences: list[Sequence], on_layer: Callable[[int], None] | None = None
) -> list[Float[Tensor, "position layer d_model"]]:
    """Return, per sequence, the residual stream at its kept positions at every layer, 0 to n.

    Each block is transformers' own, called with the arguments that the model's own forward gives
    it. No output head is computed. States keep the model's dtype and device.

    Args:
        model: the model to run.
        sequences: what to run and which positions to keep.
        on_layer: called with the number of blocks done, for progress.
    """
    groups = []
    for indices in group_by_length(sequences, _TOKENS_AT_ONCE):
        ids = torch.tensor([sequences[i].ids for i in indices], device=model.device)
        hidden, calls = record_block_calls(model.parts, ids)
        groups.append(_Group(indices, hidden, calls, [[] for _ in indices]))
    for layer in range(model.n_layers + 1):
        for group in groups:
            if layer > 0:
                group.hidden = group.calls[layer - 1](model.parts.blocks[layer - 1], group.hidden)
            for row, index in enumerate(group.indices):
                group.kept[row].append(group.hidden[row, list(sequences[index].positions)])
        if on_layer is not None:
            on_layer(layer)
    states: list[Tensor | None] = [None] * len(sequences)
    for group in groups:
        for row, index in enumerate(group.indices):
            states[index] = torch.stack(group.kept[row], dim=1)
    return [state for state in states if state is not None]


def record_block_calls(
    parts: Parts, ids: Int[Tensor, "sequence position"]
) -> tuple[Float[Tensor, "sequence position d_model"], list[BlockCall]]:
    """Return layer 0 and each block's call, from the model's own forward with its blocks left out.

    Raises:
        UnsupportedModelError: the model's forward fails so, or doesn't call each block once.
    """
    seen: list[tuple[Tensor, BlockCall]] = []
    with _refused_if_it_fails(parts), _replaced_forwards(parts.blocks, seen):
        parts.backbone(input_ids=ids, use_cache=False)
    if len(seen) != len(parts.blocks):
        raise _not_understood(parts, f"{len(seen)} calls of {len(parts.blocks)} blocks came where one of each is due")
    hidden, calls = seen[0][0], [call for _, call in seen]
    if hidden.dim() != 3:  # Gemma 3n carries four states side by side
        raise _not_understood(parts, f"a hidden state of shape {tuple(hidden.shape)} came, not one per position")
    return hidden, calls


@contextlib.contextmanager
def _replaced_forwards(blocks: nn.ModuleList, seen: list[tuple[Tensor, BlockCall]]) -> Iterator[None]:
    """Have every block note its call in `seen` and hand the hidden state on unchanged.

    It is handed on in the form in which the model's blocks return it, which the first recording
    finds out from the first block itself. Only the instances' `forward` is replaced, so that
    attributes which the model reads off its blocks stay; whatever `forward` an instance had before
    (accelerate sets one) comes back.
    """
    first = blocks[0].forward

    def note(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor | tuple[Tensor]:
        seen.append((hidden_states, BlockCall(args, kwargs)))
        if blocks not in _returns_tuple:
            with torch.no_grad():
                _returns_tuple[blocks] = isinstance(first(hidden_states, *args, **kwargs), tuple)
        return (hidden_states,) if _returns_tuple[blocks] else hidden_states

    before = [block.__dict__.get("forward") for block in blocks]
    try:
        for block in blocks:
            block.forward = note
        yield
    finally:
        for block, forward in zip(blocks, before, strict=True):
            if forward is None:
                block.__dict__.pop("forward", None)
            else:
                block.forward = forward


@contextlib.contextmanager
def _refused_if_it_fails(parts: Parts) -> Iterator[None]:
    """Call a model unsupported whose forward does not run on recorders in its blocks' places."""
    try:
        yield
    except torch.OutOfMemoryError:  # a RuntimeError, but no fault of the model
        raise
    except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise _not_understood(parts, f"its forward fails ({type(error).__name__}: {error})") from error


def _not_understood(parts: Parts, what: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{type(parts.backbone).__name__} does not call its blocks in a way that layerwise understands: with each "
        f"block only noting its call and handing the hidden state on, {what}. layerwise reads decoders whose blocks "
        "form one chain, each called once with the hidden state first."
    )


def output_state(output: Any) -> Tensor:
    """Return the hidden state from what a block returns: itself, or a tuple that begins with it."""
    return output[0] if isinstance(output, tuple) else output
