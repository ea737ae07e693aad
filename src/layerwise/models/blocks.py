"""Where a decoder keeps its parts: embeddings, the chain of blocks, final norm, unembedding."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from layerwise.errors import UnsupportedModelError

_FINAL_NORM_NAMES = ("norm", "ln_f", "final_layernorm", "final_layer_norm", "final_norm", "norm_f")


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
    backbone = hf_model.get_decoder()
    unembedding = hf_model.get_output_embeddings()
    if backbone is None or backbone is hf_model:
        raise _unsupported(name, "it has no backbone apart from its output head")
    if unembedding is None:
        raise _unsupported(name, "it has no output embeddings, so hidden states map to no vocabulary")
    depth = text_config(hf_model.config).num_hidden_layers
    chains = [m for m in backbone.children() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if len(chains) != 1:
        raise _unsupported(name, f"it has {len(chains)} lists of {depth} blocks where one chain was expected")
    norms = [getattr(backbone, n) for n in _FINAL_NORM_NAMES if isinstance(getattr(backbone, n, None), nn.Module)]
    if len(norms) != 1:
        raise _unsupported(name, f"{len(norms)} of its modules could be the final norm")
    normed, expected = _width(norms[0], hf_model), unembedding.weight.shape[1]
    if normed not in (None, expected):
        raise _unsupported(
            name, f"its final norm gives {normed} numbers and its unembedding takes {expected}, so a map lies between"
        )
    return Parts(backbone, chains[0], norms[0], unembedding)


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
