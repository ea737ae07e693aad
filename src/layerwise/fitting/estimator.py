"""An estimator: what is summed over windows of text, and the lens that follows from the sums."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from layerwise.lenses.fitted import Translator
from layerwise.types import Progress


@runtime_checkable
class Estimator(Protocol):
    """Sums over text. Two of them are merged by adding up their sums."""

    def add(self, windows: Int[Tensor, "window position"], progress: Progress | None = None) -> None:
        """Take one batch of windows; told of it where that takes long."""
        ...

    def sums(self) -> dict[str, Tensor]:
        """Return all that was gathered, by name."""
        ...

    def restore(self, sums: Mapping[str, Tensor]) -> None:
        """Have these sums in the place of those that were gathered."""
        ...

    def translators(self) -> dict[int, Translator]:
        """Return what follows from the sums, by layer."""
        ...


MakeEstimator = Callable[[], Estimator]


def added(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return sums of both."""
    return {name: values + second[name].to(values.device) for name, values in first.items()}
