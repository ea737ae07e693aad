"""What passes a block's taps as it runs: told once per run, and compared with the laws the first time."""

from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from layerwise.errors import CheckError, UnsupportedModelError
from layerwise.models.anatomy.block import BlockAnatomy, Law
from layerwise.models.anatomy.tap import first_argument


class Watch:
    """Looks on while a block runs."""

    def __init__(
        self,
        who: str,
        anatomy: BlockAnatomy,
        kinds: Collection[str],
        tell: Callable[[str, Tensor], None],
        laws: Collection[Law],
        held: Callable[[], None],
    ) -> None:
        """Prepare to look at a block.

        Args:
            who: how messages call it.
            anatomy: where its kinds of site are.
            kinds: those to tell of.
            tell: takes a kind and its values.
            laws: what its first run is compared with.
            held: called once they held.
        """
        self._who, self._anatomy, self._told, self._tell = who, anatomy, kinds, tell
        self._laws, self._held = list(laws), held
        self._kinds = {*kinds, *(kind for law in self._laws for kind in law.kinds)}
        self._times: Counter[str] = Counter()
        self._kept: dict[str, Tensor] = {}
        self._positions = (0, 0)

    def hooks(self, block: nn.Module) -> list[RemovableHandle]:
        """Return hooks on the block's modules, which do everything."""
        begin = block.register_forward_pre_hook(self._begin, with_kwargs=True)
        notes = [self._anatomy.taps[kind].hook(partial(self._note, kind)) for kind in self._kinds]
        return [begin, *notes, block.register_forward_hook(self._end)]

    def _begin(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = first_argument(args, kwargs)
        self._positions = (hidden.shape[0], hidden.shape[1])
        self._times.clear()

    def _note(self, kind: str, passing: Any) -> None:
        values = self._anatomy.taps[kind].values(passing, self._positions)
        if values is None:
            advice = "its attention has to run in eager_attention()" if kind == "pattern" else "read other kinds"
            raise UnsupportedModelError(
                f"{self._who} gave no numbers where its {kind} was expected: {advice}. It has "
                f"{', '.join(self._anatomy.kinds)}."
            )
        self._times[kind] += 1
        if self._laws:
            self._kept[kind] = values
        if kind == "pattern":
            self._expect_causal(values)
        if kind in self._told:
            self._tell(kind, values)

    def _end(self, *_: object) -> None:
        for kind in self._kinds:
            if self._times[kind] != 1:
                raise UnsupportedModelError(
                    f"{self._who} passed the place of its {kind} {self._times[kind]} times in one run; expected once, "
                    "or it is unclear what was read. Read other kinds of site of this architecture."
                )
        for law in self._laws:
            if not law.holds(self._kept):
                raise UnsupportedModelError(
                    f"In {self._who}, {law.total} is not {' + '.join(law.parts)} within rounding, so one of them is "
                    "not what its name says. Read other kinds of site of this architecture."
                )
        self._held()
        self._laws, self._kept = [], {}

    def _expect_causal(self, pattern: Tensor) -> None:
        """Stop at weight on later positions, as transformers' Falcon has with its fused kernel and weights asked for.

        The last query sees the last key; before the first there may be keys from a cache.
        """
        before = pattern.shape[-1] - pattern.shape[-2]
        if not self._anatomy.is_known_causal and bool(pattern.triu(1 + before).any()):
            raise CheckError(
                f"Attention in {self._who} has weight on later positions; expected none, as the prediction after a "
                "position is made of what stands before. Run the model's whole forward in eager_attention()."
            )
        self._anatomy.is_known_causal = True
