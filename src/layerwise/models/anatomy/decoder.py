"""Where a decoder keeps its parts: embeddings, the chain of blocks, final norm, unembedding."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from layerwise.errors import UnsupportedModelError

_FINAL_NORM_NAMES = ("norm", "ln_f", "final_layernorm", "final_layer_norm", "final_norm", "norm_f")
"""Which of several norms it is: Bloom norms its embeddings too."""

_AHEAD = ("num_nextn_predict_layers", "num_mtp_layers")
"""Settings that count the blocks which predict further tokens ahead."""


@dataclass(frozen=True, eq=False)
class Parts:
    """The modules of a decoder, all of them transformers' own."""

    backbone: nn.Module
    """Embeddings, blocks and final norm; its forward makes every block's arguments."""
    blocks: nn.ModuleList
    """Block k takes the residual stream at layer k to layer k + 1."""
    final_norm: nn.Module
    unembedding: nn.Module
    """Linear map from the final norm's output to logits."""


def find_parts(hf_model: Any) -> Parts:
    """Return the parts of a transformers decoder.

    Raises:
        UnsupportedModelError: a part is missing or ambiguous; the message names it.
    """
    name = type(hf_model).__name__
    depth = text_config(hf_model.config).num_hidden_layers
    if depth < 1:
        raise _unsupported(name, f"its configuration gives it {depth} blocks")
    unembedding = hf_model.get_output_embeddings()
    if unembedding is None:
        raise _unsupported(name, "it has no output embeddings, so hidden states map to no vocabulary")
    if beside := _beside_the_matrix(unembedding):
        raise _unsupported(
            name,
            f"its output head holds more than a matrix and a bias ({beside[0]}), as an adapter's does. Merge the "
            "adapter into the weights (merge_and_unload() in peft) and load what that returns",
        )
    backbone = _backbone(hf_model, depth)
    if backbone is None or backbone is hf_model:
        raise _unsupported(name, "it has no backbone apart from its output head")
    chains = _chains(backbone, depth)
    if len(chains) != 1:
        raise _unsupported(name, f"it has {len(chains)} lists of {depth} blocks where one chain was expected")
    norms = _final_norms(backbone)
    if len(norms) != 1:
        hint = (
            ". Merge the adapter into the weights first (merge_and_unload() in peft)" if _is_adapted(hf_model) else ""
        )
        raise _unsupported(name, f"{len(norms)} of its modules could be the final norm{hint}")
    between = _beside(hf_model, backbone, unembedding)
    if between:
        raise _unsupported(name, f"its {between[0]} stands beside backbone and unembedding, and may lie between them")
    normed, expected = _width(norms[0], hf_model), unembedding.weight.shape[1]
    if normed not in (None, expected):
        raise _unsupported(
            name, f"its final norm gives {normed} numbers and its unembedding takes {expected}, so a map lies between"
        )
    if twice := _slots_taken_twice(chains[0]):
        raise _unsupported(
            name,
            f"two of its blocks keep their keys in one place of the cache (layer_idx {twice[0]}), so with a cache, as "
            "its own forward runs unless it is told otherwise, the later one attends to the earlier one's too. Blocks "
            "that were copied keep that number: make each its own copy (copy.deepcopy), and set its attention's "
            "layer_idx to its place among the blocks",
        )
    return Parts(backbone, chains[0], norms[0], unembedding)


def cache_slots(blocks: nn.ModuleList) -> list[set[int]]:
    """Return for each block where it keeps keys and values (``layer_idx``), what several blocks share left aside."""
    inside = [{module for module in block.modules() if _slot(module) is not None} for block in blocks]
    owners = Counter(module for modules in inside for module in modules)
    own = [[_slot(module) for module in modules if owners[module] == 1] for modules in inside]
    return [{slot for slot in slots if slot is not None} for slots in own]


def weights_after_last_block(hf_model: Any, names: Iterable[str]) -> dict[str, int]:
    """Return those of some weights' names that would belong to blocks after a model's last one, and which those are.

    Args:
        hf_model: a transformers decoder.
        names: as its parameters are called, with or without the backbone's name in front.
    """
    blocks = find_parts(hf_model).blocks
    prefix = next(name for name, module in hf_model.named_modules() if module is blocks)
    bare = prefix.removeprefix(f"{hf_model.base_model_prefix}.")
    block = re.compile(rf"(?:{re.escape(prefix)}|{re.escape(bare)})\.(\d+)\.")
    found = {name: int(match[1]) for name in names if (match := block.match(name))}
    return {name: index for name, index in found.items() if index >= len(blocks)}


def expects_ahead(hf_model: Any, name: str, index: int) -> bool:
    """Return whether a weight belongs to a block after a model's last one that predicts further tokens ahead.

    DeepSeek-V3 and others keep such blocks there: as many as the configuration counts
    (``num_nextn_predict_layers``), and what transformers leaves out of the architecture on purpose.
    """
    config = text_config(hf_model.config)
    counts = [0, *(getattr(config, setting, 0) for setting in _AHEAD)]
    end = config.num_hidden_layers + max(count for count in counts if isinstance(count, int))
    left_out = hf_model._keys_to_ignore_on_load_unexpected or ()
    return index < end or any(re.search(each, name) for each in left_out)


def _backbone(hf_model: Any, depth: int) -> Any:
    """Return what transformers calls the decoder, or if that holds no chain of blocks, the one module that does."""
    named = hf_model.get_decoder()
    if isinstance(named, nn.Module) and named is not hf_model and _chains(named, depth):
        return named
    holders = [module for module in hf_model.modules() if _chains(module, depth)]
    return holders[0] if len(holders) == 1 else named


def _slots_taken_twice(blocks: nn.ModuleList) -> list[int]:
    """Return the slots of the cache that two blocks have, or one block that stands in the chain twice."""
    taken = Counter(slot for slots in cache_slots(blocks) for slot in slots)
    doubled = Counter(blocks)
    same = [_slot(module) for block in blocks if doubled[block] > 1 for module in block.modules()]
    return [slot for slot, count in taken.items() if count > 1] + [slot for slot in same if slot is not None]


def _slot(module: nn.Module) -> int | None:
    """Return where a module keeps keys and values; Zamba 2 has -1 where it never does."""
    slot = getattr(module, "layer_idx", None)
    return slot if isinstance(slot, int) and slot >= 0 else None


def _chains(module: nn.Module, depth: int) -> list[nn.ModuleList]:
    return [child for child in module.children() if isinstance(child, nn.ModuleList) and len(child) == depth]


def _final_norms(backbone: nn.Module) -> list[nn.Module]:
    """Return a backbone's only norm apart from its blocks', or of several those with a final norm's usual name."""
    norms = {name: child for name, child in backbone.named_children() if "norm" in type(child).__name__.lower()}
    usual = [norm for name, norm in norms.items() if name in _FINAL_NORM_NAMES]
    return usual if len(norms) > 1 else list(norms.values())


def _beside(hf_model: Any, backbone: nn.Module, unembedding: nn.Module) -> list[str]:
    """Return the names of a model's parts with weights that have nothing to do with its unembedding or backbone."""
    known = {unembedding, *backbone.modules()}
    return [
        name
        for name, child in hf_model.named_children()
        if known.isdisjoint(child.modules()) and any(True for _ in child.parameters())
    ]


def _beside_the_matrix(unembedding: nn.Module) -> list[str]:
    """Return the names of an output head's weights beside its matrix and bias; PyTorch may compute those of others."""
    names = [name for name, _ in unembedding.named_parameters()]
    return [name for name in names if name not in ("weight", "bias") and not name.startswith("parametrizations.")]


def _is_adapted(hf_model: Any) -> bool:
    return any(type(module).__module__.partition(".")[0] == "peft" for module in hf_model.modules())


def _width(norm: nn.Module, hf_model: Any) -> int | None:
    """Return how many numbers a norm gives; one without a gain (OLMo's) has the hidden state's width."""
    gain = getattr(norm, "weight", None)
    return getattr(text_config(hf_model.config), "hidden_size", None) if gain is None else gain.numel()


def text_config(config: Any) -> Any:
    """Return the part of a configuration that describes the language model."""
    return config.get_text_config(decoder=True)


def _unsupported(name: str, reason: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{name} cannot be read layer by layer: {reason}. "
        "A lens needs a decoder with embeddings, one chain of blocks, a final norm and an unembedding."
    )
