"""The one loop: every block in its turn, for all that is on its way up."""

import contextlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import nn

from layerwise.capture.own_forward import OwnForward, own_forward
from layerwise.models.loading.loaded import LoadedModel
from layerwise.models.machine.waiting import noticing_others
from layerwise.models.residency.residency import Resident


@runtime_checkable
class BlockRunner(Protocol):
    """Something on its way up through a model's blocks: a sweep, most often."""

    def run_block(self, index: int, block: nn.Module) -> None:
        """Run a block, which has its weights now. The blocks come in order, each once."""
        ...


def noticing_others_beside(model: LoadedModel) -> contextlib.AbstractContextManager[None]:
    """Return `noticing_others` for a model whose blocks only compute: others wait for the disk, or an accelerator."""
    computing = model.device.type == "cpu" and isinstance(model.residency, Resident)
    return noticing_others() if computing else contextlib.nullcontext()


def drive(
    model: LoadedModel, runners: Sequence[BlockRunner], reference: tuple[int, ...] | None = None
) -> OwnForward | None:
    """Take runners through all blocks, each of which is given its weights once.

    With `reference`, token ids, transformers' own forward on them goes along, and is returned: it is what the runners'
    numbers are checked against, and a streamed model would be read once more for it.
    """

    def run(index: int, block: nn.Module) -> None:
        for runner in runners:
            runner.run_block(index, block)

    if reference is not None:
        return own_forward(model, reference, after_block=run)
    with noticing_others_beside(model):
        for index in range(model.n_layers):
            with model.residency.filled(index) as block:
                run(index, block)
    return None
