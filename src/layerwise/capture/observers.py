"""What looks at forward passes on their way up: all that is ever taken from a sweep."""

from abc import ABC, abstractmethod
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerwise.models.machine.arena import ArenaOnDisk
from layerwise.sites import Site


@runtime_checkable
class Observer(Protocol):
    """Looks at what forward passes have at sites, as soon as it is there. It changes nothing that it is shown.

    What is kept of each pass lies on one axis, the place axis: the passes' kept positions, one pass's after another's.
    """

    def looks_at(self, site: Site) -> bool:
        """Return whether this site's values are wanted.

        The residual stream is shown once at each layer, as `Site.at_layer`; a layer's `Site.layer` says which it is.
        """
        ...

    def see(self, site: Site, places: Int[Tensor, " place"], values: Float[Tensor, "place ..."]) -> None:
        """Take the values of some places, each as the model has them there (`Anatomy`), a pattern as [head, key]."""
        ...

    def seen(self, site: Site) -> None:
        """Hear that all places were shown."""
        ...


class KeptStates:
    """Keeps the residual stream of every place at every layer."""

    states: Float[Tensor, "place layer d_model"]

    def __init__(self, states: Float[Tensor, "place layer d_model"], disk: ArenaOnDisk | None) -> None:
        """Take room for the states, and where that is if it is on disk."""
        self.states, self._disk = states, disk

    def looks_at(self, site: Site) -> bool:
        return site.layer is not None

    def see(self, site: Site, places: Int[Tensor, " place"], values: Float[Tensor, "place ..."]) -> None:
        self.states[places, site.layer] = values
        if self._disk:
            self._disk.release()

    def seen(self, site: Site) -> None:
        pass


class LayerByLayer(ABC):
    """Gathers the residual stream of the first places, which comes in pieces, and reads a layer once it is whole."""

    def __init__(self, count: int) -> None:
        """Look at so many places."""
        self._count = count
        self._states: dict[int, Float[Tensor, " d_model"]] = {}

    def looks_at(self, site: Site) -> bool:
        return site.layer is not None

    def see(self, site: Site, places: Int[Tensor, " place"], values: Float[Tensor, "place ..."]) -> None:
        mine = places < self._count
        self._states |= zip(places[mine].tolist(), values[mine], strict=True)

    def seen(self, site: Site) -> None:
        assert site.layer is not None
        self.read(site.layer, torch.stack([self._states[place] for place in range(self._count)]))

    @abstractmethod
    def read(self, layer: int, states: Float[Tensor, "place d_model"]) -> None:
        """Take a layer's states, in the order of their places."""
