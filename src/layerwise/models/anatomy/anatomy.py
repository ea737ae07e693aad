"""What can be read and changed inside each block of a model, while the block runs."""

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache, partial
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from layerwise.errors import PromptError, UnsupportedModelError
from layerwise.models.anatomy.block import BlockAnatomy, anatomy_of
from layerwise.models.anatomy.block_taps import attention_of
from layerwise.models.anatomy.eager import changed_patterns
from layerwise.models.anatomy.tap import Tap, first_argument
from layerwise.models.anatomy.watch import Watch
from layerwise.sites import Site

See = Callable[[Site, Tensor], None]
"""Takes a site, of all heads, and its values, a copy that may be kept."""

Change = Callable[[Tensor], Tensor]
"""Takes a kind's values, a copy that may be changed, and returns what takes their place."""


class Anatomy:
    """Where each kind of site is in the blocks of a transformers decoder.

    Names of modules say where. What they say is checked, when a block is first watched, against the sums that define
    the kinds. The values, in the block's dtype:

    - ``resid_pre``, ``resid_mid``, ``resid_post``: [sequence, position, d_model], the stream before attention, between
      it and the MLP, and after the MLP.
    - ``attn_out``, ``mlp_out``: [sequence, position, d_model], what is added to the stream: after a norm of the part's
      output (Gemma 2, OLMo 2) and with the block's scale (Granite). resid_pre + attn_out = resid_mid, and
      resid_mid + mlp_out = resid_post; where attention and MLP run side by side, resid_pre + both = resid_post.
    - ``q``, ``k``, ``v``: [sequence, position, head, d_head], what their projection gives, before norms of queries and
      keys and before rotary embedding, as in TransformerLens. A gate that comes with the queries (Qwen3-Next) is left
      out. ``k`` and ``v`` have the key-value heads.
    - ``z``: [sequence, position, head, d_head], what the output projection takes: each head's sum of values, after a
      gate (Qwen3-Next, AFMoE) or a norm (BitNet) if one comes before that projection.
    - ``pattern``: [sequence, head, query position, key position], attention weights. Needs `eager_attention`.
    - ``mlp_post``: [sequence, position, neuron], what the MLP's last projection takes.
    """

    def __init__(self, hf_model: Any, blocks: nn.ModuleList) -> None:
        """Take a model and its chain of blocks. Weights are not looked at, so they may be elsewhere."""
        self._hf, self._blocks = hf_model, blocks
        self._of = cache(lambda index: anatomy_of(blocks[index]))

    def kinds(self, index: int) -> tuple[str, ...]:
        """Return the kinds of site that a block has, in the order of `KINDS`.

        Raises:
            PromptError: there is no such block.
        """
        return self._block(index).kinds

    def expect(self, index: int, kinds: Collection[str]) -> None:
        """Stop at kinds of site that a block does not have.

        Raises:
            PromptError: there is no such block, or no such kind.
            UnsupportedModelError: the architecture has nothing of the kind in this block; says why, and what it has.
        """
        block = self._block(index)
        for kind in kinds:
            if (site := Site(index, kind)).kind in block.lacks:
                raise UnsupportedModelError(
                    f"{type(self._hf).__name__} has no {site}: {block.lacks[kind]}. "
                    f"What can be read in this block: {', '.join(block.kinds)}."
                )

    @contextlib.contextmanager
    def watching(self, index: int, kinds: Collection[str], see: See) -> Iterator[None]:
        """Have `see` called with the values of some kinds of site whenever a block runs inside the ``with``.

        Hooks on the block's modules only look, and are gone afterwards, whatever happens. `see` is called while the
        block runs, in the order in which it computes.

        Args:
            index: which block, from 0. It may run any number of times.
            kinds: some of `KINDS`.
            see: takes the site, without a head, and its values.

        Raises:
            PromptError, UnsupportedModelError: as `expect`, before anything runs.
            UnsupportedModelError: from the block's run: its values don't obey the laws, or don't come once.
            CheckError: from the block's run: a pattern has weight on later positions.
        """
        self.expect(index, kinds)
        block = self._block(index)
        laws = [law for law in block.unchecked if law.is_about(kinds) and law.total not in block.changed]

        def held() -> None:
            block.unchecked = [law for law in block.unchecked if law not in laws]

        watch = Watch(self._who(index), block, kinds, lambda kind, values: see(Site(index, kind), values), laws, held)
        with removed_afterwards(watch.hooks(self._blocks[index])):
            yield

    @contextlib.contextmanager
    def editing(self, index: int, changes: Mapping[str, Change]) -> Iterator[None]:
        """Have the values of some kinds of site replaced whenever a block runs inside the ``with``.

        What is watched inside of it, sees the new values. The first time that a kind is changed in a block, the sums
        that define the kinds must hold for the new values: so a change that does not reach the stream is noticed.

        Args:
            index: which block, from 0. It may run any number of times.
            changes: by kind of site inside the block, what takes its values, all sequences' and positions', a copy, and
                returns those that take their place. Of `pattern` they are [sequence, head, query, key]; the block must
                run in `eager_attention`.

        Raises:
            PromptError, UnsupportedModelError: as `expect`, before anything runs.
            UnsupportedModelError: from the block's run: the values don't come once, or a change goes nowhere.
        """
        self.expect(index, changes)
        block, who = self._block(index), self._who(index)
        unproven = {kind: [law for law in block.unproven.get(kind, ()) if law.total not in changes] for kind in changes}

        def held() -> None:
            for kind, laws in unproven.items():
                block.unproven[kind] = [law for law in block.unproven.get(kind, ()) if law not in laws]

        hidden: list[tuple[int, int]] = []

        def replaced(tap: Tap, change: Change, passing: Any) -> Any:
            values = tap.values(passing, hidden[-1])
            return passing if values is None else tap.with_values(passing, hidden[-1], change(values))

        at_taps = {kind: change for kind, change in changes.items() if kind != "pattern"}
        hooks = [
            self._blocks[index].register_forward_pre_hook(
                lambda _, args, kwargs: hidden.append(tuple(first_argument(args, kwargs).shape[:2])), with_kwargs=True
            ),
            *(block.taps[kind].replacing(partial(replaced, block.taps[kind], c)) for kind, c in at_taps.items()),
            *Watch(who, block, changes, lambda _, __: None, [*chain(*unproven.values())], held).hooks(
                self._blocks[index]
            ),
        ]
        with removed_afterwards(hooks), self._changing_patterns(index, changes.get("pattern")):
            block.changed = frozenset(changes)
            try:
                yield
            finally:
                block.changed = frozenset()

    def _changing_patterns(self, index: int, change: Change | None) -> contextlib.AbstractContextManager[None]:
        attention = attention_of(self._blocks[index])
        if change is None or attention is None:
            return contextlib.nullcontext()
        return changed_patterns(attention, change, self._who(index))

    def _who(self, index: int) -> str:
        return f"block {index} of {type(self._hf).__name__}"

    def _block(self, index: int) -> BlockAnatomy:
        if not 0 <= index < len(self._blocks):
            raise PromptError(f"There is no block {index}: this model's are 0 to {len(self._blocks) - 1}.")
        return self._of(index)


@contextlib.contextmanager
def removed_afterwards(hooks: Iterable[RemovableHandle]) -> Iterator[None]:
    """Remove hooks when the ``with`` ends, whatever happens."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
