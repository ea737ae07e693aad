"""An estimator: what is summed over windows of text, and the lens that follows from the sums."""

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from layerwise.fitting.sums import Sums
from layerwise.lenses.fitted import Translator
from layerwise.types import Progress


@runtime_checkable
class Estimator(Protocol):
    """Sums over text. One takes in another by including its sums."""

    def add(self, windows: Int[Tensor, "window position"], progress: Progress | None = None) -> None:
        """Take one batch of windows; told of it where that takes long."""
        ...

    @property
    def sums(self) -> Sums:
        """All that was gathered."""
        ...

    def translators(self) -> Mapping[int, Translator]:
        """Return what follows from the sums, by layer."""
        ...


MakeEstimator = Callable[[], Estimator]
