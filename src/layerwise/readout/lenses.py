"""How a hidden state at layer k becomes something that the model's head can read."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from layerwise.errors import PromptError
from layerwise.models.output_head import OutputHead


@runtime_checkable
class Lens(Protocol):
    """Maps hidden states of every layer to rows for `OutputHead.logits`."""

    name: str

    def rows(
        self, states: Float[Tensor, "group layer d_model"], output_head: OutputHead
    ) -> Float[Tensor, "group layer d_model"]:
        """Return the rows, in float32."""
        ...


class LogitLens:
    """The model's own final norm and head at every layer: z_k = T(W_U · N_f(h_k) + b_U).

    nostalgebraist (2020), "interpreting GPT: the logit lens".
    """

    name = "logit"

    def rows(
        self, states: Float[Tensor, "group layer d_model"], output_head: OutputHead
    ) -> Float[Tensor, "group layer d_model"]:
        """Return N_f(h_k): statistics recomputed at each layer, gain of the *final* norm."""
        return output_head.normed(states)


class RawLens:
    """The head without the final norm: z_k = T(W_U · h_k + b_U). Shows what the norm contributes."""

    name = "raw"

    def rows(
        self, states: Float[Tensor, "group layer d_model"], output_head: OutputHead
    ) -> Float[Tensor, "group layer d_model"]:
        """Return h_k as it is."""
        return states.float()


_LENSES: dict[str, type[Lens]] = {"logit": LogitLens, "raw": RawLens}


def lens_named(name: str) -> Lens:
    """Return the lens with this name.

    Raises:
        PromptError: there is none.
    """
    if name not in _LENSES:
        raise PromptError(f"Unknown lens {name!r}; expected one of {', '.join(_LENSES)}.")
    return _LENSES[name]()
