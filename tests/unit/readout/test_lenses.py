import pytest
import torch

from layerwise.errors import PromptError
from layerwise.readout.lenses import Lens, resolve_lens


@pytest.mark.parametrize("name", ["logit", "raw"])
def test_lenses_are_had_by_their_name(name):
    assert resolve_lens(name).spec.name == name
    assert isinstance(resolve_lens(name), Lens)


def test_unknown_lens_names_the_known_ones():
    with pytest.raises(PromptError, match=r"'crystal'.*logit, raw"):
        resolve_lens("crystal")


def test_logit_lens_does_not_see_the_length_of_a_state_and_raw_does(family):
    head = family._loaded.output_head
    states = torch.randn(2, 3, 64, generator=torch.Generator().manual_seed(0)) * 10
    logit, raw = resolve_lens("logit"), resolve_lens("raw")
    assert torch.allclose(logit.rows(2 * states, head), logit.rows(states, head), rtol=1e-4)
    assert torch.equal(raw.rows(2 * states, head), 2 * states)


def test_rows_are_float32_whatever_the_states_are(tiny):
    states = torch.randn(1, 1, 64).bfloat16()
    for name in ("logit", "raw"):
        assert resolve_lens(name).rows(states, tiny._loaded.output_head).dtype == torch.float32
