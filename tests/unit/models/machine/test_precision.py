"""How exactly float32 is multiplied, inside a context and afterwards."""

import pytest
import torch

from layerwise.models.machine.precision import PRECISIONS, matmul_precision


@pytest.mark.parametrize("name", PRECISIONS)
@pytest.mark.parametrize("elsewhere", ["highest", "medium"])
def test_it_holds_inside_and_what_was_set_elsewhere_holds_again_afterwards(name, elsewhere):
    before, inside = torch.get_float32_matmul_precision(), []
    torch.set_float32_matmul_precision(elsewhere)
    try:
        with pytest.raises(KeyboardInterrupt), matmul_precision(name):
            inside += (getattr(torch.backends, backend).matmul.fp32_precision for backend in ("cuda", "mkldnn"))
            raise KeyboardInterrupt
        assert inside == [*PRECISIONS[name]]
        assert torch.get_float32_matmul_precision() == elsewhere
    finally:
        torch.set_float32_matmul_precision(before)


def test_products_inside_are_those_of_the_precision():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    with matmul_precision("medium"), matmul_precision("highest"):
        exact = left @ right
    assert torch.allclose(exact, (left.double() @ right.double()).float(), atol=1e-3, rtol=0)
