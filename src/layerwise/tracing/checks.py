"""The checks that stand between computing numbers and handing them out."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.models.loading import LoadedModel
from layerwise.tracing.float32 import Float32Check, check_against_float32
from layerwise.tracing.identity import IdentityCheck, check_identity


@dataclass
class Checker:
    """The checks that a loaded model has passed. One prompt's check covers later ones."""

    passed: dict[int | None, IdentityCheck] = field(default_factory=dict)
    """By prompt length, and under None the first of all."""
    float32: Float32Check | None = None
    """None where there is nothing to compare: in float32 on the CPU."""
    float32_checked: bool = False
    weights: tuple[int, ...] = ()
    """Versions of the weights that the checks were passed with."""

    def renew(self, model: LoadedModel) -> None:
        """Forget what was passed with other weights: a model in memory can be changed between two traces."""
        weights = tuple(parameter._version for parameter in model.hf.parameters())
        if weights != self.weights:
            self.passed, self.float32_checked, self.weights = {}, False, weights

    def check(
        self,
        model: LoadedModel,
        prompt: str,
        ids: tuple[int, ...],
        states: Float[Tensor, "layer d_model"],
        *,
        each_length: bool,
    ) -> IdentityCheck:
        """Return the check that covers this prompt, running it if there is none yet.

        Args:
            model: the model whose numbers are checked.
            prompt: for the record.
            ids: the prompt's tokens.
            states: the residual stream at the prompt's last position, as captured.
            each_length: ask for one check per prompt length, rather than one per model.

        Raises:
            CheckError: a check failed.
        """
        if not self.float32_checked:
            exact = model.device.type == "cpu" and model.dtype == torch.float32
            self.float32 = None if exact else check_against_float32(model, ids, states)
            self.float32_checked = True
        key = len(ids) if each_length else None
        if key not in self.passed:
            self.passed[key] = check_identity(model, prompt, ids, states)
            self.passed.setdefault(None, self.passed[key])
        return self.passed[key]
