"""What small changes at sites are worth: the gradient of something that is read off the last state."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.backward import KeptInputs
from layerwise.capture.edits import Edit
from layerwise.capture.loop import noticing_others_beside
from layerwise.errors import CheckError
from layerwise.models.loading.loaded import LoadedModel
from layerwise.sites import STREAM, Site
from layerwise.types import Progress


@torch.no_grad()
def site_gradients(
    model: LoadedModel,
    ids: tuple[int, ...],
    sites: Sequence[Site],
    gradient_of: Callable[[Float[Tensor, "one d_model"]], Float[Tensor, "one d_model"]],
    *,
    embedded: Sequence[Edit] = (),
    progress: Progress | None = None,
) -> dict[str, Float[Tensor, "position ..."]]:
    """Return the gradients at sites, of all their heads, at every position, in float32 by the sites' names.

    The text goes up through the blocks once, and once back down, in which each block runs once more by itself: no graph
    is larger than a block's, and a streamed model's weights are read twice.

    Args:
        model: the model to run.
        ids: the text.
        sites: some of any kind but ``pattern``.
        gradient_of: from the last layer's state at the last position to the gradient there.
        embedded: edits of layer 0 that the text has.
        progress: called with (what, done, total).

    Raises:
        UnsupportedModelError: a block has no such site, or computes without derivatives.
        CheckError: the gradients are not finite.
    """
    wanted: dict[int, list[Site]] = defaultdict(list)
    for site in sites:
        wanted[site.block].append(site)
    kept = KeptInputs(model, torch.tensor([ids]), embedded=embedded)
    cotangent = torch.zeros_like(kept.last)[None]
    cotangent[0, :, -1] = gradient_of(kept.last[:, -1])
    found: dict[str, Tensor] = {}
    lowest = min(wanted)
    for index in reversed(range(lowest, model.n_layers)):
        kinds = {site.kind for site in wanted[index]}
        at = {"resid_post": cotangent.clone()}
        with (
            noticing_others_beside(model),
            model.residency.filled(index, then=index - 1) as block,
            kept.linearised(index, block, kinds - {*STREAM}) as linear,
        ):
            at |= linear.pull_back_(cotangent)
        at["resid_pre"] = cotangent.clone()
        found |= {str(site): at[site.kind][0, 0].float().cpu() for site in wanted[index]}
        if progress:
            progress("differentiating", model.n_layers - index, model.n_layers - lowest)
    if not all(bool(gradient.isfinite().all()) for gradient in found.values()):
        raise CheckError("A gradient is NaN or infinite. Run with --dtype float32.")
    return found
