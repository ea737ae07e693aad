"""Edits: what is changed in a forward pass on its way up."""

import contextlib
from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from layerwise.errors import PromptError
from layerwise.models.anatomy.anatomy import Anatomy
from layerwise.models.anatomy.eager import eager_attention
from layerwise.models.loading.loaded import LoadedModel
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


def attention_for(model: LoadedModel, sites: Iterable[Site]) -> contextlib.AbstractContextManager[None]:
    """Return the context in which passes are made and run of which these sites are read or edited.

    With a ``pattern`` among them, attention is computed step by step (`eager_attention`).
    """
    return eager_attention(model.hf) if any(site.kind == "pattern" for site in sites) else contextlib.nullcontext()


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


def edited_rows(
    edits: Iterable[tuple[int, int, Edit]], index: int, anatomy: Anatomy, first: int = 0
) -> contextlib.AbstractContextManager[None]:
    """Return a context in which those edits are made that are inside a block, while it runs on rows of states.

    Args:
        edits: the row of each, how many of its tokens are a text's, and what is changed there.
        index: the block.
        anatomy: of the model.
        first: the position at which all rows begin.
    """
    mine: dict[str, list[tuple[int, int, Edit]]] = defaultdict(list)
    for row, length, edit in edits:
        if edit.site.layer is None and edit.site.block == index:
            mine[edit.site.kind].append((row, length, edit))

    def changed(kind: str, values: Tensor) -> Tensor:
        for row, length, edit in mine[kind]:
            # Patterns are of heads, queries and keys, those before the rows among them; all else begins with positions.
            of_row = values[row, :, :length, : first + length] if kind == "pattern" else values[row, :length]
            apply_(edit, of_row, first)
        return values

    changes = {kind: partial(changed, kind) for kind in mine}
    return anatomy.editing(index, changes) if changes else contextlib.nullcontext()
