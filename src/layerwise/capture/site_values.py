"""What forward passes have at sites, as arrays under the sites' names."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.capture.edits import attention_for
from layerwise.capture.forward_pass import ForwardPass, own_places
from layerwise.capture.loop import drive
from layerwise.capture.sweep import Sweep
from layerwise.errors import PromptError
from layerwise.models.loading.loaded import LoadedModel
from layerwise.sites import KINDS, Site
from layerwise.types import Progress


def resolve_sites(model: LoadedModel, wanted: str | Site | Sequence[str | Site]) -> list[Site]:
    """Return sites, each once, from sites, their names, or kinds alone: those of every block that has that kind.

    Raises:
        PromptError: a name or block is none.
        UnsupportedModelError: the architecture lacks what is asked for; the message says why, and what it has.
    """
    found: list[Site] = []
    for each in [wanted] if isinstance(wanted, str | Site) else wanted:
        if isinstance(each, str) and each in KINDS:
            having = [index for index in range(model.n_layers) if each in model.anatomy.kinds(index)]
            found += [Site(index, each) for index in having or [0]]
        else:
            found.append(each if isinstance(each, Site) else Site.parse(each))
    if not found:
        raise PromptError(f"No site was asked for. Expected names such as blocks.0.attn.hook_z, or {', '.join(KINDS)}.")
    for site in found:
        model.anatomy.expect(site.block, [site.kind])
    return list(dict.fromkeys(found))


def capture_sites(
    model: LoadedModel, passes: Sequence[ForwardPass], sites: Sequence[Site], progress: Progress | None = None
) -> list[dict[str, np.ndarray]]:
    """Return, per pass, what it has at sites at its kept positions, by the sites' names.

    Every pass runs whole and by itself, so that the values are those of the model's own forward on it. A streamed
    model's weights are read once for all. With a ``pattern`` among the sites, attention is computed step by step for
    all of them (`eager_attention`), which changes numbers by rounding.
    """
    kept = _SiteValues(sites, passes)
    with attention_for(model, [*sites, *(edit.site for each in passes for edit in each.edits)]):
        drive(model, [Sweep(model, passes, [kept], keep_states=False, apart=True, progress=progress)])
    return [{str(site): values[site] for site in sites} for values in kept.of_pass]


class _SiteValues:
    """Keeps what some sites have, of passes that run apart (an `Observer`)."""

    def __init__(self, sites: Sequence[Site], passes: Sequence[ForwardPass]) -> None:
        self._wanted: dict[Site, list[Site]] = defaultdict(list)
        """By the site that is shown, what was asked for of it: some of its heads, or the stream under another name."""
        for site in sites:
            shown = replace(site, head=None) if site.layer is None else Site.at_layer(site.layer)
            self._wanted[shown].append(site)
        self._pass_at = [index for index, places in enumerate(own_places(passes)) for _ in places]
        self.of_pass: list[dict[Site, np.ndarray]] = [{} for _ in passes]

    def looks_at(self, site: Site) -> bool:
        return site in self._wanted

    def see(self, site: Site, places: Int[Tensor, " place"], values: Float[Tensor, "place ..."]) -> None:
        """Keep the values of one pass, raised to float32."""
        array, mine = values.float().cpu().numpy(), self.of_pass[self._pass_at[int(places[0])]]
        for wanted in self._wanted[site]:
            mine[wanted] = _shaped(wanted, array)

    def seen(self, site: Site) -> None:
        pass


def _shaped(site: Site, array: np.ndarray) -> np.ndarray:
    """Return the values of a site from those of all its heads, [position, head, …]."""
    if site.head is None:
        return array.swapaxes(0, 1) if site.kind == "pattern" else array
    if site.head >= array.shape[1]:
        raise PromptError(f"There is no {site}: there are {array.shape[1]} of these heads, 0 to {array.shape[1] - 1}.")
    return array[:, site.head]
