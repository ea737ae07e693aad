"""The loop backwards: from the last layer down, what later states owe to earlier ones."""

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.cache_utils import Cache

from layerwise.capture.block_calls import BlockCall, record_block_calls
from layerwise.capture.edits import Edit, apply_
from layerwise.capture.loop import drive
from layerwise.capture.model_call import failures_told
from layerwise.capture.shared_beginnings import can_share, is_as_made, segment_cache
from layerwise.errors import UnsupportedModelError
from layerwise.models.libraries.computed import graphs_let_go
from layerwise.models.loading.loaded import LoadedModel

Rules = Callable[[nn.Module], contextlib.AbstractContextManager[None]]
"""A context, for a block, inside of which it runs forward to be gone through backwards in another way."""


def no_rules(block: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Leave gradients as they are."""
    return contextlib.nullcontext()


_ADVICE = "Gradients need a model whose blocks compute in floating point, and no kernels without derivatives."


_SHORT = 512
"""Positions up to which attention's pattern is kept for the way back; of longer texts it takes too much memory.

PyTorch's fused kernel for CPUs computes it anew for each cotangent: with it a block of smollm2-135m takes 36.7 ms for
444 tokens' cotangents instead of 33.9."""


class KeptInputs:
    """Texts of one length that went up through the blocks, and what entered each, for the way back.

    The first positions of every text may be left out of the way back: no gradient of later states with respect to later
    ones goes through theirs. Where blocks know of earlier tokens by keys and values alone, these are
    held, and the blocks run on the rest; elsewhere they run on the whole.
    """

    def __init__(
        self,
        model: LoadedModel,
        texts: Int[Tensor, "text position"],
        left_out: int = 0,
        *,
        copies: int = 1,
        rules: Rules = no_rules,
        embedded: Sequence[Edit] = (),
    ) -> None:
        """Go up through all blocks.

        Args:
            model: the model to run.
            texts: token ids.
            left_out: how many positions at the beginning are of no interest.
            copies: how many cotangents of each text go down side by side.
            rules: how gradients go back through a block, where that is not as they do.
            embedded: edits of layer 0 that every text has; none where positions are left out.

        Raises:
            UnsupportedModelError: the blocks form no chain.
        """
        self._model, self._left_out, self._copies, self._rules = model, left_out, copies, rules
        self._inputs: list[Float[Tensor, "text position d_model"]] = []
        self._cut = left_out if left_out and can_share(model.parts, model.hf.config) and is_as_made(model.hf) else 0
        texts = texts.to(model.device)
        beginning = segment_cache(model.n_layers, 0, [], held=True) if self._cut else None
        self._before, self._calls_before = (
            record_block_calls(model, texts[:, : self._cut], beginning) if beginning else (None, [])
        )
        self._hidden, self._calls = self._recorded(texts, beginning, copies=1)
        if embedded:
            self._hidden = self._hidden.clone()  # it may be the model's own
        for edit in embedded:
            for text in self._hidden:
                apply_(edit, text)
        _, self._calls_of_copies = self._recorded(texts, beginning, copies)
        drive(model, [self])

    def _recorded(self, texts: Tensor, beginning: Cache | None, copies: int) -> tuple[Tensor, list[BlockCall]]:
        """Return layer 0 and the blocks' calls for copies of the texts, one copy of all after another."""
        rows = [*range(len(texts))] * copies
        cache = beginning and segment_cache(self._model.n_layers, self._cut, [(beginning, row) for row in rows])
        return record_block_calls(self._model, texts[rows, self._cut :], cache)

    @torch.no_grad()
    def run_block(self, index: int, block: nn.Module) -> None:
        """Take the texts through a block, which has its weights now."""
        if self._before is not None:
            self._before = self._calls_before[index](block, self._before)
        self._inputs.append(self._hidden)
        self._hidden = self._calls[index](block, self._hidden)

    @property
    def last(self) -> Float[Tensor, "text position d_model"]:
        """Layer n, without the positions that were left out."""
        return self._hidden[:, self._run_all_the_same :]

    @contextlib.contextmanager
    def linearised(self, index: int, block: nn.Module, inside: Collection[str] = ()) -> Iterator["LinearisedBlock"]:
        """Give a block as it is around its input, for any number of cotangents; it needs its weights meanwhile.

        Args:
            index: of the block.
            block: itself.
            inside: kinds of site inside the block at which cotangents are wanted too.
        """
        entering = self._inputs[index].repeat(self._copies, 1, 1).requires_grad_(True)
        noted: dict[str, Tensor] = {}
        failing = failures_told(f"Block {index} cannot be gone through backwards", _ADVICE)
        with (
            graphs_let_go(block),
            torch.enable_grad(),
            self._rules(block),
            self._attention(),
            failing,
            self._noting(index, inside, noted),
        ):
            leaving = self._calls_of_copies[index](block, entering)
        # What is noted is written back by copying, so that it is part of what follows: a site of which that is not so
        # has no gradient, and would be taken for one that does nothing.
        without = [kind for kind, values in {"output": leaving, **noted}.items() if not values.requires_grad]
        if without:
            raise UnsupportedModelError(
                f"Block {index} of {type(self._model.hf).__name__} computes its {without[0]} without a derivative, so "
                f"no gradient comes through it. {_ADVICE}"
            )
        yield LinearisedBlock(entering, leaving, noted, self._run_all_the_same)

    def _noting(
        self, index: int, kinds: Collection[str], noted: dict[str, Tensor]
    ) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the values of some kinds of site become variables that the block goes on from."""

        def note(kind: str, values: Tensor) -> Tensor:
            noted[kind] = values
            return values

        changes = {kind: partial(note, kind) for kind in kinds}
        return self._model.anatomy.editing(index, changes) if changes else contextlib.nullcontext()

    def _attention(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context in which attention that goes through PyTorch's own function runs forward."""
        on_cpu, short = self._model.device.type == "cpu", self._hidden.shape[1] + self._cut <= _SHORT
        return sdpa_kernel(SDPBackend.MATH) if on_cpu and short else contextlib.nullcontext()

    @property
    def _run_all_the_same(self) -> int:
        """How many of the positions that are left out the blocks run on."""
        return self._left_out - self._cut


class LinearisedBlock:
    """A block's derivative at some texts."""

    def __init__(self, entering: Tensor, leaving: Tensor, inside: dict[str, Tensor], left_out: int) -> None:
        self._entering, self._leaving, self._inside = entering, leaving, inside
        self._kept = slice(left_out, None)
        self._whole = torch.zeros_like(leaving)

    def pull_back_(self, cotangents: Float[Tensor, "copy text position d_model"]) -> dict[str, Tensor]:
        """Put in the place of cotangents after the block what they are before it; at most as many as there are copies.

        A cotangent says, for every text and position that was not left out, what a small change of the state there is
        worth. Returned is, by kind, the same of the sites inside: [copy, text, position, …].
        """
        given = cotangents.flatten(0, 1)
        self._whole[: len(given), self._kept] = given
        wanted = [self._entering, *self._inside.values()]
        entering, *inside = (
            found[: len(given), self._kept]
            for found in torch.autograd.grad(self._leaving, wanted, self._whole, retain_graph=True)
        )
        cotangents.copy_(entering.view(cotangents.shape))
        return {
            kind: found.unflatten(0, cotangents.shape[:2]) for kind, found in zip(self._inside, inside, strict=True)
        }
