"""Sites: what can be read inside a block, under the names of TransformerLens's hooks."""

import re
from dataclasses import dataclass

from layerwise.errors import PromptError

_HOOKS = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "z": "attn.hook_z",
    "pattern": "attn.hook_pattern",
    "mlp_post": "mlp.hook_post",
}

KINDS = tuple(_HOOKS)
"""Of sites: the residual stream before, between and after attention and MLP (``resid_pre``, ``resid_mid``,
``resid_post``); what the two add to it (``attn_out``, ``mlp_out``); the heads' queries, keys and values, what they hand
to the output projection (``q``, ``k``, ``v``, ``z``) and their attention weights (``pattern``); the MLP's neurons
after the activation function (``mlp_post``)."""

STREAM = ("resid_pre", "resid_post")
"""Kinds that are the residual stream at a layer: before a block, after it."""

PER_HEAD = ("q", "k", "v", "z", "pattern")
"""Kinds whose values have an axis of heads; of ``k`` and ``v`` those are the key-value heads."""

_WRITTEN = re.compile(r"blocks\.(\d+)\.([a-z_.]+)(?:\[(\d+)\])?")


@dataclass(frozen=True)
class Site:
    """Something that can be read in one block.

    Raises:
        PromptError: there is no such kind, no such block, or the kind has no heads.
    """

    block: int
    """From 0; what leaves block k (its ``resid_post``) is layer k + 1."""
    kind: str
    """One of `KINDS`."""
    head: int | None = None
    """From 0; None for all of them."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PromptError(f"There is no kind of site called {self.kind!r}. The kinds are {', '.join(KINDS)}.")
        if self.block < 0 or (self.head or 0) < 0:
            raise PromptError(f"Blocks and heads are counted from 0; got block {self.block}, head {self.head}.")
        if self.head is not None and self.kind not in PER_HEAD:
            raise PromptError(
                f"{self.kind} has no heads, and head {self.head} of it was asked for. "
                f"The kinds that have are {', '.join(PER_HEAD)}."
            )

    def __str__(self) -> str:
        """Return TransformerLens's name, the head in brackets after it: ``blocks.3.attn.hook_z[5]``."""
        return f"blocks.{self.block}.{_HOOKS[self.kind]}" + ("" if self.head is None else f"[{self.head}]")

    @property
    def layer(self) -> int | None:
        """The layer whose residual stream this is; None for what is inside a block."""
        return self.block + STREAM.index(self.kind) if self.kind in STREAM else None

    @classmethod
    def at_layer(cls, layer: int) -> "Site":
        """Return where the residual stream at a layer is: after a block, or before the first."""
        return cls(layer - 1, "resid_post") if layer else cls(0, "resid_pre")

    @classmethod
    def parse(cls, text: str) -> "Site":
        """Return the site that such a name stands for.

        Raises:
            PromptError: it is no such name; the message lists those that there are.
        """
        written = _WRITTEN.fullmatch(text)
        kind = next((kind for kind, hook in _HOOKS.items() if written and written[2] == hook), None)
        if written is None or kind is None:
            raise PromptError(
                f"{text!r} names no site. Expected blocks.N. and one of {', '.join(_HOOKS.values())}, "
                "with a head in brackets after it where there are heads: blocks.3.attn.hook_z[5]."
            )
        return cls(int(written[1]), kind, None if written[3] is None else int(written[3]))
