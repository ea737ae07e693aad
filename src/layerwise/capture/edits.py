"""Edits: what is changed in a forward pass on its way up."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from layerwise.errors import PromptError
from layerwise.sites import Site


@runtime_checkable
class Edit(Protocol):
    """A change of the values at a site. Edits are compared and hashed: what they do is part of what a pass is."""

    @property
    def site(self) -> Site:
        """Return where it attaches."""
        ...

    def apply(self, values: Float[Tensor, "position ..."], first: int = 0) -> Float[Tensor, "position ..."]:
        """Return what takes the place of a pass's values at the site, from position `first` on.

        They are as `Anatomy` has them, of one sequence: [position, d_model] of the stream and what is added to it,
        [position, head, d_head] of heads, [position, neuron] of neurons, and [head, query, key] of patterns. The axis
        of heads is left out where the site has one head. `values` is a copy, which may be changed.
        """
        ...


def first_block_of(edit: Edit) -> int:
    """Return the first block that runs otherwise for an edit, which is the layer up to which nothing changes."""
    return edit.site.block if edit.site.layer is None else edit.site.layer


def apply_(edit: Edit, values: Tensor, first: int = 0) -> None:
    """Change a pass's values of a kind of site, those of all heads, in place; from position `first` on.

    Raises:
        PromptError: there is no such head.
    """
    head = edit.site.head
    if head is None:
        values.copy_(edit.apply(values.clone(), first))
        return
    of_heads = values if edit.site.kind == "pattern" else values.transpose(0, 1)
    if head >= len(of_heads):
        raise PromptError(
            f"There is no {edit.site}: there are {len(of_heads)} of these heads, 0 to {len(of_heads) - 1}."
        )
    of_heads[head] = edit.apply(of_heads[head].clone(), first)
