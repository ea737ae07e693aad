"""The model's own forward, untouched: what every lens number is checked against."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerwise.capture.block_calls import COMPILED, output_state, record_block_calls, replaced_forwards
from layerwise.capture.model_call import run_model
from layerwise.errors import UnsupportedModelError
from layerwise.models.loading.loaded import LoadedModel


@dataclass(frozen=True, eq=False)
class OwnForward:
    """What transformers computes by itself, at the last position."""

    ids: tuple[int, ...]
    logits: Float[Tensor, " token"]
    """As the model returns them, raised to float32."""
    states: Float[Tensor, "layer d_model"]
    """What each block received (layers 0 to n - 1), then what the final norm received (layer n)."""


AfterBlock = Callable[[int, nn.Module], None]
"""Called with a block's index and the block, while it has its weights."""


@torch.no_grad()
def own_forward(
    model: LoadedModel, ids: tuple[int, ...], after_block: AfterBlock = lambda index, block: None
) -> OwnForward:
    """Return the output and the residual stream of transformers' plain forward on `ids`.

    The states are noted by hooks that look and change nothing; the logits come from the model's
    own head, norm and output transform, none of them layerwise's. What is to run each block too (`drive`) does so
    after the forward itself has, while the block has its weights.
    """
    received: dict[int, Tensor] = {}
    # Hooks fire for whoever calls a block. What runs a block in `after_block` is not this forward: neither are its
    # states to be noted, nor is anything to run after its blocks.
    others_run = False

    def note(layer: int, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not others_run:
            hidden = args[0] if args else kwargs["hidden_states"]
            received[layer] = output_state(hidden)[0, -1].clone()  # the last time counts: NanoChat norms embeddings too

    def let_others_run(index: int, block: nn.Module, *_: Any) -> None:
        nonlocal others_run
        if not others_run:
            others_run = True
            run_others(index, block)
            others_run = False

    # A block that was compiled in place has its hooks compiled too: the whole sweep, for each block anew.
    compiled = any(getattr(block, COMPILED, None) for block in model.parts.blocks)
    run_others: AfterBlock = torch.compiler.disable(after_block) if compiled else after_block  # pyright: ignore[reportAssignmentType] -- its stub says None
    watched = [*model.parts.blocks, model.parts.final_norm]
    hooks = [
        module.register_forward_pre_hook(functools.partial(note, layer), with_kwargs=True)
        for layer, module in enumerate(watched)
    ]
    for index, block in enumerate(model.parts.blocks):
        hooks.append(block.register_forward_hook(functools.partial(let_others_run, index)))
    try:
        with model.residency.attached():
            logits, _ = run_model(model, torch.tensor([ids], device=model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return OwnForward(ids, logits[0].float(), torch.stack([received[layer] for layer in range(len(watched))]))


@torch.no_grad()
def own_output_head(model: LoadedModel, normed: Float[Tensor, "row d_model"]) -> Float[Tensor, "row token"]:
    """Return the logits, raised to float32, that the model's own forward makes of vectors after its final norm.

    Nothing of layerwise's readout is in them. The blocks are left out, so that no weights of theirs are read.

    Raises:
        UnsupportedModelError: the forward does not call its final norm last.
    """
    ids = torch.full((len(normed), 1), model.output_head.vocab_size // 2, device=model.device)
    record_block_calls(model, ids[:1])
    seen: list[Any] = []
    put = False

    def replace(_module: Any, _args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        nonlocal put
        if len(seen) < model.n_layers or output.numel() != normed.numel():
            return None  # NanoChat norms its embeddings with the same module
        put = True
        return normed.to(output.dtype).view(output.shape)

    hook = model.parts.final_norm.register_forward_hook(replace)
    try:
        with replaced_forwards(model.parts.blocks, seen):
            logits, _ = run_model(model, ids)
    finally:
        hook.remove()
    if not put:
        raise UnsupportedModelError(
            f"{type(model.hf).__name__} cannot be read layer by layer: its forward does not pass the last block's "
            f"state through its final norm ({type(model.parts.final_norm).__name__})."
        )
    return logits.float()


@torch.no_grad()
def generate_greedily(model: LoadedModel, ids: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return up to `count` ids that the model itself continues `ids` with, always its likeliest.

    Stops after an end-of-text token, the tokenizer's or one of the generation config's. Uses
    transformers' forward, and its cache where the model has one of keys and values (Mamba has not);
    none of the sampling settings that a checkpoint may bring (penalties, temperature) are applied.
    """
    ends, made, cache = end_ids(model), list[int](), None
    while len(made) < count:
        length = len(ids) + len(made)
        if model.rope_of(length) != model.rope_of(length - 1):
            cache = None  # its keys were turned by other frequencies
        step = torch.tensor([[*ids, *made] if cache is None else made[-1:]], device=model.device)
        with model.residency.attached():
            logits, cache = run_model(model, step, use_cache=True, cache=cache)
        made.append(int(logits[0].argmax()))
        if made[-1] in ends:
            break
    return tuple(made)


def end_ids(model: LoadedModel) -> set[int | None]:
    """Return the ids that end a text; chat models have several (end of turn, end of text)."""
    ends = getattr(getattr(model.hf, "generation_config", None), "eos_token_id", None)
    return {model.tokenizer.end_id, *(ends if isinstance(ends, list | tuple) else [ends])}
