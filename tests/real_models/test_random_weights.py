"""The bundled models' architectures with random weights: what they give is no answer, but it is computed right."""

import numpy as np
import pytest

import layerwise as lw


@pytest.mark.parametrize(("name", "trained"), [("gemma-3-270m", "gemma"), ("smollm2-135m", "smollm")])
def test_a_bundled_models_random_control_passes_the_checks_and_knows_nothing(name, trained, request):
    control, model = lw.load(f"random:{name}", device="cpu"), request.getfixturevalue(trained)
    trace = control.trace("Question: What is the capital of Germany? Answer:", answer=" Berlin", positions="all")
    assert trace.checks.identity_error < 1e-5  # 1e-6 and 7e-7 measured
    assert np.isfinite(trace.entropy_bits).all()
    assert np.isfinite(trace.top_logprobs).all()
    # Nearly uniform from the first block on; after layer 0 a token still predicts itself, for the tables are tied.
    assert (trace.entropy_bits[1:] > 0.95 * np.log2(control.info.vocab_size)).all()
    assert control._loaded.hf.get_input_embeddings().weight is control._loaded.hf.get_output_embeddings().weight
    assert (control.info.name, control.info.source, control.info.location) == (f"random:{name}", "random", name)
    assert control.info.weights_sum not in (None, model.info.weights_sum)
    same = ("architecture", "n_layers", "d_model", "n_heads", "n_kv_heads", "vocab_size", "parameters", "dtype")
    assert all(getattr(control.info, key) == getattr(model.info, key) for key in same)
