"""Edits: what is changed in a forward pass on its way up."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from layerwise.sites import Site


@runtime_checkable
class Edit(Protocol):
    """A change of the values at a site. Edits are compared and hashed: what they do is part of what a pass is."""

    @property
    def site(self) -> Site:
        """Return where it attaches."""
        ...

    def apply(self, values: Float[Tensor, "position d_model"]) -> Float[Tensor, "position d_model"]:
        """Return what takes the place of a pass's values; `values` stays as it is."""
        ...
