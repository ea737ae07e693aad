"""What is summed over text, by name: in memory, or in a file where memory has no room for it."""

import contextlib
import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.machine.arena import ArenaOnDisk
from layerwise.models.weights.safetensors_writer import Layout

_CPU = torch.device("cpu")


class Sums(Mapping[str, Tensor]):
    """Tensors that begin at zero."""

    in_memory = True

    def __init__(self, layout: Layout, device: torch.device = _CPU) -> None:
        """Begin.

        Args:
            layout: shape and precision of each, by name.
            device: where they lie.
        """
        self.layout = layout
        self._held = {name: torch.zeros(shape, dtype=dtype, device=device) for name, (shape, dtype) in layout.items()}

    def __getitem__(self, name: str) -> Tensor:
        return self._held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)

    @property
    def n_bytes(self) -> int:
        """How much room all of them take."""
        return _n_bytes(self.layout)

    @contextlib.contextmanager
    def changed(self, name: str) -> Iterator[Tensor]:
        """Give one to be changed in place."""
        yield self._held[name]

    def include(self, others: Mapping[str, Tensor]) -> None:
        """Add the sums of other text."""
        for name in self:
            with self.changed(name) as mine:
                mine.add_(others[name].to(mine.device))


class SumsOnDisk(Sums):
    """Tensors in a file, of which one is in memory at a time, as long as somebody has it."""

    in_memory = False

    def __init__(self, layout: Layout) -> None:
        """Begin; a new file is all zeros.

        Raises:
            ModelError: the disk has no room for them.
        """
        self.layout = layout
        self._file = ArenaOnDisk(
            sum(map(ArenaOnDisk.taken_by, layout.values())), "A fit's sums", "Fit fewer --layers at a time"
        )
        self._held = {name: self._file.take(shape, dtype) for name, (shape, dtype) in layout.items()}

    def __getitem__(self, name: str) -> Tensor:
        values = self._held[name].clone()
        self._file.release()
        return values

    @contextlib.contextmanager
    def changed(self, name: str) -> Iterator[Tensor]:
        values = self[name]
        yield values
        self._held[name].copy_(values)
        self._file.release()


def room_for_fit(model: LoadedModel) -> int | None:
    """Return the bytes that may be in memory of a fit's sums, and as many again of what is added to them.

    None for as many as there are, as of a model that is in memory itself.
    """
    allowed = model.residency.bytes_for_states
    return None if allowed is None else allowed // 2


def zero_sums(model: LoadedModel, layout: Layout, device: torch.device = _CPU) -> Sums:
    """Return sums for one half of a text: of a model that is streamed within a budget, both halves' have to fit.

    Raises:
        ModelError: they fit neither in memory nor on disk.
    """
    room = room_for_fit(model)
    return Sums(layout, device) if room is None or 2 * _n_bytes(layout) <= room else SumsOnDisk(layout)


def _n_bytes(layout: Layout) -> int:
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in layout.values())
