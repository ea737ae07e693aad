"""How a site's values lie in a tensor that passes by a tap: read there, and put back there."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Shape(Protocol):
    """How values lie in a tensor [sequence, position, …]."""

    def read(self, tensor: Tensor) -> Tensor:
        """Return the values; they may share the tensor's memory."""
        ...

    def write(self, tensor: Tensor, values: Tensor) -> None:
        """Put values where `read` takes them from. What has the value that it had stays as it is, bit by bit."""
        ...


@dataclass(frozen=True)
class AsItIs:
    """The tensor is the values."""

    def read(self, tensor: Tensor) -> Tensor:
        return tensor

    def write(self, tensor: Tensor, values: Tensor) -> None:
        tensor.copy_(values)


AS_IT_IS = AsItIs()


@dataclass(frozen=True)
class Scaled:
    """The values are the tensor times a number."""

    factor: float

    def read(self, tensor: Tensor) -> Tensor:
        return tensor * self.factor

    def write(self, tensor: Tensor, values: Tensor) -> None:
        # Dividing what was multiplied rounds twice. What that is off by is added as a constant, so that gradients reach
        # the values whether they have changed or not.
        divided = values / self.factor
        rounded = torch.where(values == self.read(tensor), tensor - divided, 0).nan_to_num()
        tensor.copy_(divided + rounded.detach())


@dataclass(frozen=True)
class Heads:
    """The values are [sequence, position, head, d_head]: in each of a projection's groups, some heads in a row."""

    d_head: int
    groups: int = 1
    first: int = 0
    """In each group."""
    last: int | None = None

    def read(self, tensor: Tensor) -> Tensor:
        return self._in_groups(tensor).flatten(-3, -2)

    def write(self, tensor: Tensor, values: Tensor) -> None:
        self._in_groups(tensor).copy_(values.unflatten(-2, (self.groups, -1)))

    def _in_groups(self, tensor: Tensor) -> Tensor:
        """Return a view [sequence, position, group, head, d_head]."""
        return tensor.unflatten(-1, (self.groups, -1, self.d_head))[..., self.first : self.last, :]
