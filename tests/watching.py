"""Tiny models whose blocks are watched while transformers' own forward runs."""

from typing import Any

import torch
import transformers
from torch import Tensor

from benchmarks.tiny import tiny_config, tiny_model
from layerwise.models.anatomy.anatomy import Anatomy
from layerwise.models.anatomy.decoder import find_parts
from layerwise.models.anatomy.eager import eager_attention
from layerwise.sites import Site

IDS = torch.arange(5, 14)[None]
BLOCK = 1
D_HEAD = 16


def make(config: str, **settings: Any) -> tuple[Any, Any, Anatomy]:
    """Return a tiny model, its blocks, and their anatomy."""
    hf_model = tiny_model(tiny_config(getattr(transformers, config), **settings))
    blocks = find_parts(hf_model).blocks
    return hf_model, blocks, Anatomy(hf_model, blocks)


@torch.no_grad()
def watch(hf_model: Any, anatomy: Anatomy, kinds: Any, index: int = BLOCK) -> dict[str, Tensor]:
    """Return what was seen in one run with eager attention."""
    seen: dict[str, Tensor] = {}

    def see(site: Site, values: Tensor) -> None:
        assert (site.block, site.head) == (index, None)
        assert site.kind not in seen
        seen[site.kind] = values

    with eager_attention(hf_model), anatomy.watching(index, kinds, see):
        hf_model(IDS, use_cache=False)
    return seen
