"""Where a model's blocks have their weights while it runs: all in memory, or a few at a time from disk."""

import contextlib
import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from layerwise.models.machine.arena import Arena
from layerwise.models.weights.expectations import expect_complete, expect_finite
from layerwise.models.weights.filler import Filler


class Residency(Protocol):
    """Sees to it that a block has its weights when it is called."""

    @property
    def bytes_read(self) -> int:
        """Bytes of weights read from disk since the model was loaded, in order to run it."""
        ...

    @property
    def bytes_for_states(self) -> int | None:
        """Bytes of hidden states that may be kept in memory; None for as many as there are."""
        ...

    def filled(self, index: int, then: int | None = None) -> contextlib.AbstractContextManager[nn.Module]:
        """Return a context that gives a block with its weights.

        `then` is the block that will be wanted after it: the next one, unless it is said.
        """
        ...

    def attached(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the model's own forward finds every block with its weights."""
        ...


@dataclass(frozen=True, eq=False)
class Resident:
    """Every block has its weights all the time."""

    blocks: nn.ModuleList
    bytes_read: int = 0
    bytes_for_states: int | None = None

    def filled(self, index: int, then: int | None = None) -> contextlib.AbstractContextManager[nn.Module]:
        return contextlib.nullcontext(self.blocks[index])

    def attached(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class StreamedBlock:
    """A block that is given weights to compute and gives up their memory afterwards."""

    def __init__(self, module: nn.Module, name: str, stored: Sequence[str], filler: Filler) -> None:
        """Take a block without weights, its name in the model, and the stored tensors that it is made of."""
        self.module = module
        self._name, self._stored, self._filler = name, stored, filler
        self._empty = [
            (owner, key, parameter)
            for owner in module.modules()
            for key, parameter in owner.named_parameters(recurse=False)
        ]
        self._is_known = False

    @torch.no_grad()
    def fill(self, arena: Arena) -> None:
        """Read the block's weights; they lie in `arena`, as far as it is large enough.

        Raises:
            CorruptFileError: some are missing, of another shape, changed meanwhile, NaN or infinite.
        """
        arena.clear()
        self._filler.fill(self._stored, arena)
        expect_complete(self.module, self._name)
        if not self._is_known:  # the files stay as they are, or reading them fails
            expect_finite(self.module, self._name)
            self._is_known = True
        self.module.requires_grad_(False)
        for owner in self.module.modules():  # few and small, and nobody takes them out again
            for key, buffer in owner.named_buffers(recurse=False):
                setattr(owner, key, buffer.clone())

    def empty(self) -> None:
        """Forget the weights."""
        for owner, key, parameter in self._empty:
            setattr(owner, key, parameter)


class Streamed:
    """A few blocks have weights at a time, and the next is read while one computes."""

    def __init__(
        self, blocks: Sequence[StreamedBlock], arenas: Sequence[Arena], filler: Filler, bytes_for_states: int
    ) -> None:
        """Take a model's blocks without weights.

        Args:
            blocks: in the order in which they run.
            arenas: one for each block that may have weights at the same time; two let the next be read ahead.
            filler: what reads for them.
            bytes_for_states: bytes of hidden states that may be kept in memory beside them.
        """
        self.bytes_for_states: int | None = bytes_for_states
        self._blocks, self._filler = blocks, filler
        self._free = list(arenas)
        self._held: dict[int, Arena] = {}
        self._coming: dict[int, Future[Arena]] = {}
        self._in_use: Counter[int] = Counter()
        self._reader = ThreadPoolExecutor(1, "layerwise-reader")

    @property
    def bytes_read(self) -> int:
        return self._filler.weights.files.bytes_read

    @contextlib.contextmanager
    def filled(self, index: int, then: int | None = None) -> Iterator[nn.Module]:
        then = index + 1 if then is None else then
        self._in_use[index] += 1
        try:
            self._bring(index, ahead=False)
            self._held[index] = self._coming.pop(index).result() if index in self._coming else self._held[index]
            if 0 <= then < len(self._blocks):
                self._bring(then, ahead=True)
            yield self._blocks[index].module
        finally:
            self._in_use[index] -= 1

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        inside: list[tuple[int, contextlib.AbstractContextManager[nn.Module]]] = []

        def before(index: int, *_: object) -> None:
            here = self.filled(index)
            here.__enter__()
            inside.append((index, here))

        def after(index: int, *_: object) -> None:
            if inside and inside[-1][0] == index:
                inside.pop()[1].__exit__(None, None, None)

        hooks = []
        for index, block in enumerate(self._blocks):
            hooks.append(block.module.register_forward_pre_hook(functools.partial(before, index), prepend=True))
            hooks.append(block.module.register_forward_hook(functools.partial(after, index), always_call=True))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _bring(self, index: int, *, ahead: bool) -> None:
        """Have a block's weights read, unless they are there or on their way; ahead of time only if there is room."""
        if index in self._held or index in self._coming:
            return
        arena = self._arena()
        while arena is None and not ahead:
            self._settle()
            arena = self._arena()
        if arena is not None:
            self._coming[index] = self._reader.submit(self._fill, index, arena)

    def _arena(self) -> Arena | None:
        """Return a free arena, or that of a block which has been used."""
        if self._free:
            return self._free.pop()
        idle = next((index for index in self._held if not self._in_use[index]), None)
        if idle is None:
            return None
        self._blocks[idle].empty()
        return self._held.pop(idle)

    def _settle(self) -> None:
        """Wait for what was read ahead and is not wanted after all."""
        index, coming = self._coming.popitem()
        self._held[index] = coming.result()

    def _fill(self, index: int, arena: Arena) -> Arena:
        try:
            self._blocks[index].fill(arena)
        except BaseException:
            self._blocks[index].empty()
            self._free.append(arena)
            raise
        return arena
