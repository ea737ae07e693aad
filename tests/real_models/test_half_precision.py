"""The bundled models cast to half precision: numbers drift by a known amount, or the run stops."""

import copy
import dataclasses
import functools

import numpy as np
import pytest

import layerwise as lw
from layerwise.errors import CheckError
from layerwise.models.output_head.output_head import OutputTransform
from layerwise.tracing.model import Model

PROMPT = "Question: What is the capital of Germany? Answer:"


@pytest.fixture(scope="module")
def bfloat16():
    """`bfloat16(name)`: a bundled model in bfloat16, and its trace of the prompt, made once."""

    @functools.cache
    def load(name):
        model = lw.load(name, device="cpu", dtype="bfloat16")
        return model, model.trace(PROMPT)

    return load


@pytest.mark.parametrize(("name", "full"), [("gemma-3-270m", "gemma"), ("smollm2-135m", "smollm")])
def test_bfloat16_passes_its_check_and_stays_near_float32(name, full, request, bfloat16):
    _, trace = bfloat16(name)
    # transformers rounds each logit to bfloat16, and its norm too: .05 to .17 measured on five
    # prompts per model, .56 to .97 let through (four steps of the largest logit).
    assert 0.01 < trace.checks.identity_error < 0.25
    assert 0.4 < trace.checks.identity_limit < 1.2
    exact = request.getfixturevalue(full).trace(PROMPT)
    assert trace.top(-1)[0].id == exact.top(-1)[0].id
    np.testing.assert_allclose(trace.entropy_bits[-1], exact.entropy_bits[-1], atol=0.5)


@pytest.mark.parametrize("name", ["gemma-3-270m", "smollm2-135m"])
def test_drift_is_what_the_same_weights_give_in_float32(name, bfloat16):
    half, trace = bfloat16(name)
    raised = copy.deepcopy(half._loaded.hf).float()  # not the checkpoint: its weights were finer
    exact = lw.load(raised, tokenizer=half._loaded.tokenizer.hf).trace(PROMPT)
    assert exact.checks.drift_variation is None
    assert trace.checks.drift_variation is not None
    assert 0.001 < trace.checks.drift_variation < 0.3
    layers = range(trace.n_layers + 1)
    assert trace.checks.drift_tops == sum(trace.top(k)[0].id != exact.top(k)[0].id for k in layers)
    apart = abs(trace.entropy_bits[:, trace.last] - exact.entropy_bits[:, exact.last]).max()
    # Embeddings and rotary factors stay in bfloat16 on the way: .233 against .225 on gemma-3.
    assert trace.checks.drift_entropy_bits == pytest.approx(apart, rel=0.1)


def test_a_wrong_scale_is_still_caught_in_bfloat16(bfloat16):
    model, _ = bfloat16("smollm2-135m")
    head = dataclasses.replace(model._loaded.output_head, transform=OutputTransform(scale=1.1))
    with pytest.raises(CheckError, match=r"bfloat16 rounding"):
        Model(dataclasses.replace(model._loaded, output_head=head)).trace(PROMPT)


def test_float16_carries_smollm_and_overflows_in_gemma():
    """Gemma 3's residual stream outgrows float16 (65,504) in its ninth block."""
    checks = lw.load("smollm2-135m", device="cpu", dtype="float16").trace(PROMPT).checks
    assert checks.identity_error < 0.03 < checks.identity_limit < 0.15
    with pytest.raises(CheckError, match=r"overflowed in float16: try --dtype float32"):
        lw.load("gemma-3-270m", device="cpu", dtype="float16").trace(PROMPT)
