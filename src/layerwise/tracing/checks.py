"""The checks that stand between computing numbers and handing them out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from layerwise.capture.forward_pass import ForwardPass
from layerwise.capture.loop import drive
from layerwise.capture.own_forward import own_forward
from layerwise.capture.sweep import Sweep
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.residency.residency import Resident
from layerwise.tracing.float32_check import Float32Check, check_against_float32
from layerwise.tracing.identity_check import IdentityCheck, check_identity
from layerwise.tracing.places import Captured, Place, Readings
from layerwise.tracing.prepared_request import Prepared


@dataclass
class Checker:
    """The checks that a loaded model has passed. One prompt's check covers later ones."""

    passed: dict[tuple[int | None, int], IdentityCheck] = field(default_factory=dict)
    """By length group, under None the first of all, and by the set of rotary frequencies that such lengths have."""
    float32: Float32Check | None = None
    """None where there is nothing to compare: in float32 on the CPU."""
    float32_checked: bool = False
    causal: bool = False
    """Whether the model was seen not to look ahead."""

    def anew(self) -> "Checker":
        """Return one to whom no prompt has passed the identity check yet; what holds for the model holds on."""
        return replace(self, passed={})

    def due(self, model: LoadedModel, prompts: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
        """Return the prompt whose own forward has to run along with the capture; None if there was one before.

        The first, or for a streamed model the longest: since another would read all weights again, it
        has to stand for every length.
        """
        missing = [ids for ids in prompts if (None, model.rope_of(len(ids))) not in self.passed]
        if not missing:
            return None
        return missing[0] if _is_resident(model) else max(missing, key=len)

    def check(
        self, model: LoadedModel, prepared: Sequence[Prepared], captured: Captured, *, length_groups: bool
    ) -> list[IdentityCheck]:
        """Return the check that covers each prompt, having run those that are missing.

        Args:
            model: the model whose numbers are checked.
            prepared: the prompts.
            captured: their states, and the own forward that was due.
            length_groups: ask for one check per length group, rather than one per model.

        Raises:
            CheckError: a check failed.
        """
        in_groups = length_groups and _is_resident(model)
        keys = [(_length_group(item.ids) if in_groups else None, model.rope_of(len(item.ids))) for item in prepared]
        first = next((i for i, item in enumerate(prepared) if captured.own and item.ids == captured.own.ids), 0)
        for index in (first, *range(len(prepared))):
            item, key = prepared[index], keys[index]
            if key in self.passed:
                continue
            states = _unedited(model, item, captured.at(Place(index, item.last)))
            if not self.float32_checked:
                self.float32 = check_against_float32(model, item.ids, states) if differs_from_float32(model) else None
                self.float32_checked = True
            own = captured.own
            if own is None or own.ids != item.ids:  # it did not run along with the capture
                own = own_forward(model, item.ids)
            self.passed[key] = check_identity(model, item.text, states, own)
            self.passed.setdefault((None, key[1]), self.passed[key])
        return [self.passed[key] for key in keys]

    def forget(self) -> None:
        """Have every check run again: the model has changed since."""
        self.passed, self.float32_checked = {}, False


def still_hold(checks: Sequence[IdentityCheck], prepared: Sequence[Prepared], readings: Readings) -> bool:
    """Return whether what was read says what the checked outputs say, of prompts that they are of.

    A model in memory can change in a way that only its numbers show: few numbers of each weight are looked at, and no
    buffer. The same prompt then says something else than when it was checked.
    """
    return all(
        check.is_said_by(readings.output, readings.index_of[Place(index, item.last)])
        for index, (check, item) in enumerate(zip(checks, prepared, strict=True))
        if check.is_of(item.forward_pass)
    )


def _unedited(model: LoadedModel, item: Prepared, captured: Float[Tensor, "layer d_model"]) -> Tensor:
    """Return what a prompt's last position has without its edits, which the model's own forward knows nothing of."""
    if not item.edits:
        return captured
    sweep = Sweep(model, [ForwardPass(item.ids, (item.last,))])
    drive(model, [sweep])
    return sweep.states[0]


def _length_group(ids: tuple[int, ...]) -> int:
    """Return which of 1, 2 to 3, 4 to 7, 8 to 15, … tokens these are."""
    return len(ids).bit_length()


def _is_resident(model: LoadedModel) -> bool:
    return isinstance(model.residency, Resident)


def differs_from_float32(model: LoadedModel) -> bool:
    """Return whether there is something to compare with float32 on the CPU, for no more than it is worth.

    A streamed model would read all its weights once more. That is done for an accelerator, which may
    compute something else altogether, and not for half precision on the CPU.
    """
    if model.device.type == "cpu":
        return model.dtype != torch.float32 and _is_resident(model)
    return True
