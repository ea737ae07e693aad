"""A transformers model made without memory for its weights, then given them: all, or block by block as it runs."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from layerwise.errors import DoesNotFitError
from layerwise.models.anatomy.decoder import Parts, find_parts
from layerwise.models.machine.arena import Arena
from layerwise.models.machine.device import readable_size, used_memory
from layerwise.models.residency.residency import Streamed, StreamedBlock
from layerwise.models.weights.expectations import (
    expect_complete,
    expect_finite,
    expect_numbers,
    missing_weights,
    wrong_shape,
)
from layerwise.models.weights.filler import Filler, Weights, names_by_block
from layerwise.models.weights.matrix import SLICE, StoredMatrix, slices_of
from layerwise.types import Progress

_WORKING_SPACE = 550 << 20
"""Bytes for activations, logits and what is compiled, beside the weights."""


def empty_model(config: Any, dtype: torch.dtype, *, trust_remote_code: bool = False) -> Any:
    """Return the transformers model of a configuration, its parameters without memory."""
    from accelerate import init_empty_weights
    from transformers import AutoModelForCausalLM

    with init_empty_weights(include_buffers=False):
        hf_model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=trust_remote_code)
    hf_model.tie_weights()
    return hf_model.eval().requires_grad_(False)


def fill_whole(
    hf_model: Any,
    weights: Weights,
    dtype: torch.dtype,
    device: torch.device,
    progress: Progress | None = None,
) -> None:
    """Give an empty model all its weights.

    Raises:
        CorruptFileError: weights are missing, or have other shapes than the configuration's.
    """
    filler = Filler(hf_model, weights, dtype, device)
    groups = list(names_by_block(weights, _name_of(hf_model, find_parts(hf_model).blocks)).values())
    for done, names in enumerate(groups):
        filler.fill(names, Arena(0))
        if progress:
            progress("reading the weights", done + 1, len(groups))
    hf_model.tie_weights()
    hf_model.requires_grad_(False)
    expect_complete(hf_model, type(hf_model).__name__)
    _move_buffers(hf_model, device)


def stream(
    hf_model: Any, parts: Parts, weights: Weights, dtype: torch.dtype, device: torch.device, budget: int
) -> tuple[Streamed, Tensor | StoredMatrix]:
    """Give an empty model what it has outside its blocks; return what feeds those, and the unembedding.

    The embedding table stays on disk: the rows of a prompt's tokens are read when it is run. The
    unembedding is kept in the precision of the checkpoint if it fits, and else read in slices.

    Args:
        hf_model: made by `empty_model`.
        parts: its parts.
        weights: the checkpoint's.
        dtype: what the blocks compute in.
        device: where they do.
        budget: bytes of memory for this whole process.

    Raises:
        DoesNotFitError: the budget is too small for one block; says the smallest that works.
        CorruptFileError: weights are missing, or have other shapes than the configuration's.
    """
    filler = Filler(hf_model, weights, dtype, device)
    prefix = _name_of(hf_model, parts.blocks)
    names = names_by_block(weights, prefix, _in_several_blocks(hf_model, parts))
    embedding = hf_model.get_input_embeddings()
    table = _stored_matrix(hf_model, weights, embedding)
    head = _stored_matrix(hf_model, weights, parts.unembedding)
    outside = [name for name in names.pop(None, []) if name not in (table.name, head.name)]
    plan = _plan(
        budget,
        outside=sum(filler.size_of(name) for name in outside),
        head=head.size_bytes,
        block=max((sum(filler.size_of(name) for name in some) for some in names.values()), default=0),
    )
    filler.fill(outside, Arena(0))
    hf_model.tie_weights()
    elsewhere = (f"{prefix}.", *_names_of(hf_model, embedding, parts.unembedding))
    expect_complete(hf_model, type(hf_model).__name__, but=elsewhere)
    expect_finite(hf_model, type(hf_model).__name__)
    _move_buffers(hf_model, device)
    embedding.weight = nn.Parameter(torch.empty(0, table.shape[1], dtype=dtype, device=device), requires_grad=False)
    embedding.register_forward_pre_hook(_EmbeddedRows(table, dtype, device))
    unembedding = head.whole().to(device) if plan.head_fits else head
    if isinstance(unembedding, Tensor):
        expect_numbers(unembedding, type(hf_model).__name__, head.name)
    hf_model.set_output_embeddings(_Unembedding(unembedding, getattr(parts.unembedding, "bias", None), dtype, device))
    blocks = [
        StreamedBlock(block, f"{prefix}.{index}", names.get(index, []), filler)
        for index, block in enumerate(parts.blocks)
    ]
    return Streamed(blocks, [Arena(plan.block) for _ in range(plan.arenas)], filler, plan.spare), unembedding


def _name_of(hf_model: Any, wanted: nn.Module) -> str:
    return next(name for name, module in hf_model.named_modules() if module is wanted)


def _move_buffers(hf_model: Any, device: torch.device) -> None:
    for module in hf_model.modules():
        for key, buffer in module.named_buffers(recurse=False):
            setattr(module, key, buffer.to(device))


@dataclass(frozen=True)
class _Plan:
    arenas: int
    block: int
    head_fits: bool
    spare: int
    """What is left for hidden states."""


def _plan(budget: int, outside: int, head: int, block: int) -> _Plan:
    """Return what to keep in memory: if there is room, the unembedding, and a second block that is read ahead."""
    fixed = used_memory() + _WORKING_SPACE + outside
    block += 64 * 64  # alignment
    for arenas, head_fits in ((2, True), (1, True), (2, False), (1, False)):
        needed = fixed + arenas * block + (head if head_fits else SLICE)
        if needed <= budget:
            return _Plan(arenas, block, head_fits, budget - needed)
    least = fixed + block + min(head, SLICE)
    raise DoesNotFitError(
        f"A budget of {readable_size(budget)} is too small to stream this model: its largest block takes "
        f"{readable_size(block)}, beside {readable_size(fixed)} for the program, activations and what belongs to no "
        f"block. Give at least --memory {math.ceil(least / 1e8) / 10:.1f}GB, or --dtype bfloat16 for smaller blocks."
    )


def _stored_matrix(hf_model: Any, weights: Weights, module: Any) -> StoredMatrix:
    """Return the stored matrix that is a module's weight; failing one of its own, that of one it is tied to."""
    own, names = f"{_name_of(hf_model, module)}.weight", _names_of(hf_model, module)
    stored = {weights.parameter_of(name): name for name in weights.tensors if weights.parameter_of(name) in names}
    if not stored:
        raise missing_weights(type(hf_model).__name__, names)
    matrix = StoredMatrix(weights, stored.get(own) or next(iter(stored.values())))
    if matrix.shape != tuple(module.weight.shape):
        raise wrong_shape(matrix.name, matrix.shape, module.weight.shape)
    return matrix


def _names_of(hf_model: Any, *modules: nn.Module) -> list[str]:
    """Return all names that some modules' weights have in the model, tied ones included."""
    own = [module.weight for module in modules]
    named = hf_model.named_parameters(remove_duplicate=False)
    return [name for name, parameter in named if any(parameter is each for each in own)]


def _in_several_blocks(hf_model: Any, parts: Parts) -> set[str]:
    """Return the names of parameters that blocks have in common, as Zamba 2's have their attention."""
    blocks = Counter(id(parameter) for block in parts.blocks for parameter in block.parameters())
    named = hf_model.named_parameters(remove_duplicate=False)
    return {name for name, parameter in named if blocks[id(parameter)] > 1}


class _EmbeddedRows:
    """Gives an embedding the rows of the tokens that it is called with, and nothing else."""

    def __init__(self, table: StoredMatrix, dtype: torch.dtype, device: torch.device) -> None:
        self._table, self._dtype, self._device = table, dtype, device

    def __call__(self, embedding: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the call's arguments with ids that count the rows which the embedding has now."""
        ids, places = args[0].unique(return_inverse=True)
        rows = self._table.rows(ids.cpu()).to(self._device, self._dtype)
        expect_numbers(rows, "The tokens of this prompt", self._table.name)
        embedding.weight = nn.Parameter(rows, requires_grad=False)
        embedding.num_embeddings, embedding.padding_idx = len(rows), None
        return (places, *args[1:])


class _Unembedding(nn.Module):
    """The model's output head as a linear map, its weight in another precision or on disk."""

    def __init__(self, weight: Tensor | StoredMatrix, bias: Tensor | None, dtype: torch.dtype, device: torch.device):
        super().__init__()
        self._weight, self._bias = weight, bias
        self.weight = torch.empty((), dtype=dtype, device=device).expand(weight.shape)
        """Of the matrix that the model was made with: Mamba gives its states the dtype that it reads off here."""

    def forward(self, states: Tensor) -> Tensor:
        """Return the logits of `states`, computed in their precision."""
        parts = (part.to(states.device, states.dtype) for _, part in slices_of(self._weight))
        logits = torch.cat([functional.linear(states, part) for part in parts], dim=-1)
        return logits if self._bias is None else logits + self._bias
