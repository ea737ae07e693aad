"""Values that are put into a run: another run's, noise, or a placebo's."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.block_calls import record_block_calls
from layerwise.capture.edits import Edit
from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.site_values import capture_sites
from layerwise.causal.grid import SubjectNoise
from layerwise.interventions import changes
from layerwise.models.loading.loaded import LoadedModel
from layerwise.sites import Site

_VOCABULARY_SAMPLE = 1024
"""Tokens whose embeddings say how large noise is."""


def noises_on_embeddings(model: LoadedModel, positions: Sequence[int], noise: SubjectNoise) -> list[tuple[Edit, ...]]:
    """Return the draws of noise, its size in standard deviations of embeddings over the vocabulary."""
    size = model.output_head.vocab_size
    sample = torch.arange(0, size, max(1, size // _VOCABULARY_SAMPLE), device=model.device)
    embedded, _ = record_block_calls(model, sample[:, None])
    deviation = noise.deviations * float(embedded.float().std())
    return [
        (changes.noise(Site.at_layer(0), deviation, noise.seed + number, positions),) for number in range(noise.draws)
    ]


def last_site(model: LoadedModel) -> str:
    """Return what `values_at` calls the last layer."""
    return str(Site.at_layer(model.n_layers))


def values_at(
    model: LoadedModel, ids: tuple[int, ...], edits: tuple[Edit, ...], sites: Sequence[Site]
) -> dict[str, Float[Tensor, "position ..."]]:
    """Return what a run has at sites and at the last layer, at every position."""
    wanted = [*dict.fromkeys([*sites, Site.at_layer(model.n_layers)])]
    [found] = capture_sites(model, [ForwardPass(ids, tuple(range(len(ids))), edits)], wanted)
    return {name: torch.from_numpy(values) for name, values in found.items()}


def remembered_values(
    model: LoadedModel, sites: Sequence[Site]
) -> Callable[[tuple[int, ...], tuple[Edit, ...]], dict[str, Float[Tensor, "position ..."]]]:
    """Return `values_at` of sites that does not run again what it ran last, or before that: two runs are compared."""
    return lru_cache(maxsize=2)(lambda ids, edits: values_at(model, ids, edits, sites))


def moved_at_random(
    base: Mapping[str, Tensor], source: Mapping[str, Tensor], pairs: Sequence[tuple[int, int]], seed: int
) -> dict[str, Tensor]:
    """Return placebos for a source's values: the base's, moved as far as to the source's, in random directions."""
    mine, theirs = (list(each) for each in zip(*pairs, strict=True))
    generator, placebos = torch.Generator().manual_seed(seed), {}
    for name, values in source.items():
        placebos[name] = values.clone()
        placebos[name][theirs] = changes.moved_at_random(base[name][mine], values[theirs], generator)
    return placebos
