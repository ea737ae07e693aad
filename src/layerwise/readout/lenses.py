"""How a hidden state at layer k becomes something that the model's output head can read."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from layerwise.lens_spec import LOGIT, RAW, LensSpec, spec_of
from layerwise.models.output_head.output_head import OutputHead

States = Float[Tensor, "place layer d_model"]


@runtime_checkable
class Lens(Protocol):
    """Maps hidden states of every layer to rows for `OutputHead.logits`."""

    spec: LensSpec

    def rows(self, states: States, output_head: OutputHead) -> States:
        """Return the rows, in float32."""
        ...


class LogitLens:
    """The model's own final norm and output head at every layer: z_k = T(W_U · N_f(h_k) + b_U).

    nostalgebraist (2020), "interpreting GPT: the logit lens".
    """

    spec = LOGIT

    def rows(self, states: States, output_head: OutputHead) -> States:
        """Return N_f(h_k): statistics recomputed at each layer, gain of the *final* norm."""
        return output_head.normed(states)


class RawLens:
    """The output head without the final norm: z_k = T(W_U · h_k + b_U). Shows what the norm contributes."""

    spec = RAW

    def rows(self, states: States, output_head: OutputHead) -> States:
        """Return h_k as it is."""
        return states.float()


_READERS: dict[LensSpec, type[Lens]] = {kind.spec: kind for kind in (LogitLens, RawLens)}


@runtime_checkable
class ByLayer(Protocol):
    """A lens that does not read all layers in the same way."""

    def at(self, layer: int) -> Lens:
        """Return a lens for states of this layer alone."""
        ...


def lens_at(lens: Lens, layer: int) -> Lens:
    """Return what reads states of one layer alone as a lens does."""
    return lens.at(layer) if isinstance(lens, ByLayer) else lens


def resolve_lens(lens: str | Lens) -> Lens:
    """Return the lens with this name; a lens itself as it is.

    Raises:
        PromptError: there is none.
    """
    return lens if isinstance(lens, Lens) else _READERS[spec_of(lens)]()
