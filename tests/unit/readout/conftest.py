import pytest
import torch

from layerwise import compiled
from layerwise.models.device import available_devices


@pytest.fixture(
    scope="module",
    params=[
        "pytorch",
        pytest.param(
            "compiled", marks=pytest.mark.skipif(not compiled.available(), reason="numba is not installed here")
        ),
        pytest.param(
            "accelerator",
            marks=pytest.mark.skipif(available_devices() == ("cpu",), reason="this machine has no accelerator"),
        ),
    ],
)
def device(request):
    """Where logits are read: in PyTorch on the CPU, compiled on the CPU, on an accelerator if there is one."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "compiled":
            patch.setattr(compiled, "available", lambda: False)
        yield torch.device(available_devices()[0] if request.param == "accelerator" else "cpu")
