"""Affine maps on their way down a loss, one for each layer, all side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.lenses.fitted import LowRankTranslator, Translator

_BETAS, _TINY = (0.9, 0.99), 1e-8
"""Adam's: how slowly its means forget, and what keeps it from dividing by nothing."""


@dataclass(frozen=True, eq=False)
class Start:
    """Where descent begins, and the coordinates in which it goes on. One entry for each layer that is fitted."""

    matrix: Float[Tensor, "layer d_model d_model"] | None
    """None for the identity."""
    bias: Float[Tensor, "layer d_model"]
    mean: Float[Tensor, "layer d_model"]
    whitening: Float[Tensor, "layer d_model d_model"] | Float[Tensor, "layer d_model"]
    """Times states less their mean: coordinates of variance 1, uncorrelated where it is a matrix."""
    size: Float[Tensor, " d_model"]
    """Standard deviations of the last layer's coordinates: what a step is measured by."""

    def coordinates(self, states: Float[Tensor, "layer place d_model"]) -> Float[Tensor, "layer place d_model"]:
        centred = states - self.mean[:, None]
        if self.whitening.dim() == 2:
            return centred * self.whitening[:, None]
        return centred @ self.whitening.transpose(1, 2)

    def read(self, states: Float[Tensor, "layer place d_model"]) -> Float[Tensor, "layer place d_model"]:
        """Return what the start makes of states."""
        read = states if self.matrix is None else states @ self.matrix.transpose(1, 2)
        return read + self.bias[:, None]


class Descent:
    """Parameters on their way down: an affine map for each layer, added to the start in its coordinates."""

    def __init__(self, start: Start, rank: int, seed: int) -> None:
        n_layers, d = start.bias.shape
        self._start, self._rank = start, rank
        draw = torch.Generator().manual_seed(seed)
        if rank:
            self.parameters = {
                "left": torch.zeros(n_layers, d, rank),
                "right": torch.randn(n_layers, rank, d, generator=draw) / d**0.5,
                "bias": torch.zeros(n_layers, d),
            }
        else:
            self.parameters = {"matrix": torch.zeros(n_layers, d, d), "bias": torch.zeros(n_layers, d)}
        device = start.bias.device
        self.parameters = {name: values.to(device) for name, values in self.parameters.items()}
        self._first = {name: torch.zeros_like(values) for name, values in self.parameters.items()}
        self._second = {name: torch.zeros_like(values) for name, values in self.parameters.items()}
        self.best = {name: values.clone() for name, values in self.parameters.items()}
        self.best_kl = torch.full((n_layers,), float("inf"))
        self.since_best = torch.zeros((), dtype=torch.long)
        """Looks since any layer improved."""

    def apply(
        self, states: Float[Tensor, "layer place d_model"]
    ) -> tuple[Float[Tensor, "layer place d_model"], Float[Tensor, "layer place d_model"]]:
        """Return translated states, and the coordinates that they were translated in."""
        x, own = self._start.coordinates(states), self.parameters
        if self._rank:
            added = (x @ own["right"].transpose(1, 2)) @ own["left"].transpose(1, 2)
        else:
            added = x @ own["matrix"].transpose(1, 2)
        return self._start.read(states) + (added + own["bias"][:, None]) * self._start.size, x

    def gradients(
        self, x: Float[Tensor, "layer place d_model"], of_translated: Float[Tensor, "layer place d_model"]
    ) -> dict[str, Tensor]:
        """Return the gradient of the loss by parameter, from that by translated states in coordinates x."""
        g = of_translated * self._start.size
        if not self._rank:
            return {"matrix": g.transpose(1, 2) @ x, "bias": g.sum(1)}
        inner = x @ self.parameters["right"].transpose(1, 2)
        right = (g @ self.parameters["left"]).transpose(1, 2) @ x
        return {"left": g.transpose(1, 2) @ inner, "right": right, "bias": g.sum(1)}

    def step(self, gradients: dict[str, Tensor], rate: float, number: int) -> None:
        """Take one of Adam's steps (Kingma and Ba 2014, arXiv:1412.6980), the first of which is number 1."""
        for name, gradient in gradients.items():
            first = self._first[name].lerp_(gradient, 1 - _BETAS[0])
            second = self._second[name].mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
            root = (second / (1 - _BETAS[1] ** number)).sqrt_().add_(_TINY)
            self.parameters[name].addcdiv_(first, root, value=-rate / (1 - _BETAS[0] ** number))

    def keep_if_better(self, kl: Sequence[float]) -> None:
        """Keep the parameters of each layer whose figure is the best so far."""
        found = torch.tensor(kl, dtype=self.best_kl.dtype)
        better = found < self.best_kl
        self.best_kl = torch.where(better, found, self.best_kl)
        self.since_best = torch.zeros_like(self.since_best) if bool(better.any()) else self.since_best + 1
        for name, values in self.parameters.items():
            self.best[name][better] = values[better]

    def translators(self, layers: Sequence[int], own: dict[str, Tensor]) -> dict[int, Translator | LowRankTranslator]:
        """Return what some parameters come to, by layer."""
        start, size = self._start, self._start.size[:, None]
        found: dict[int, Translator | LowRankTranslator] = {}
        for index, layer in enumerate(layers):
            whitening = start.whitening[index]
            thin = own["right"][index] if self._rank else own["matrix"][index]
            right = thin * whitening if whitening.dim() == 1 else thin @ whitening
            left = size * own["left"][index] if self._rank else None
            added = size * right if left is None else left @ right
            bias = start.bias[index] + start.size * own["bias"][index] - added @ start.mean[index]
            if left is not None and start.matrix is None:
                found[layer] = LowRankTranslator(left, right, bias)
            else:
                whole = torch.eye(len(bias)).to(bias) if start.matrix is None else start.matrix[index]
                found[layer] = Translator(whole + added, bias)
        return found

    def state(self) -> dict[str, Tensor]:
        """Return all that it goes on from."""
        parts = {"now": self.parameters, "first": self._first, "second": self._second, "best": self.best}
        named = {f"{part}.{name}": values for part, all_of in parts.items() for name, values in all_of.items()}
        return {**named, "best_kl": self.best_kl, "since_best": self.since_best}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        for name, values in self.state().items():
            values.copy_(state[name])
