import numpy as np
import pytest
import torch

import layerwise as lw
from layerwise.errors import PromptError
from layerwise.lens_spec import LensSpec
from layerwise.readout.lenses import Lens, RawLens, resolve_lens


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


class Shrunk(RawLens):
    """A lens of one's own."""

    spec = LensSpec("shrunk", "states, made smaller", ends_at_output=False, sum="0" * 64)

    def rows(self, states, output_head):
        return states.float() * 0.01


def test_a_lens_of_ones_own_is_read_beside_those_that_there_are(tiny, tmp_path):
    prompt = "The capital of Germany is"
    [[own, logit, raw]] = tiny.trace_all([lw.Request(prompt, answers=(" Berlin",))], lenses=[Shrunk(), "logit", "raw"])
    assert [own.lens, logit.lens, raw.lens] == ["shrunk", "logit", "raw"]
    assert (own.entropy_bits > raw.entropy_bits).all(), "smaller logits say less"
    assert np.allclose(logit.entropy_bits, tiny.trace(prompt).entropy_bits, rtol=1e-5)
    assert own.output == logit.output, "what the model says, whatever the lens"
    own.save(tmp_path / "own.json")
    assert lw.Trace.open(tmp_path / "own.json") == own
    assert "shrunk lens" in lw.show(own).document["traces"][0]["trust"]["sentences"][-1]
