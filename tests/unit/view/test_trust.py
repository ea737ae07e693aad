from dataclasses import replace

import numpy as np
import pytest

from layerwise.view.trust import trust, warnings

PROMPT = "The capital of Germany is Berlin. The capital of France is"


@pytest.fixture(scope="module")
def trace(tiny):
    return tiny.trace(PROMPT, positions="all")


def badge(trace, lens="logit", checks=None, **model):
    return trust(checks or trace.checks, replace(trace.model, **model), lens)


def test_float32_on_the_cpu_through_the_logit_lens_is_good(trace):
    found = badge(trace)
    assert found["level"] == "good"
    [checked, ran] = found["sentences"]
    assert f"{trace.checks.identity_error:.1e}" in checked
    assert ran == "Weights ran in float32 on cpu."


def test_half_precision_is_stated_with_what_it_changes(trace):
    checks = replace(trace.checks, drift_variation=0.0123, drift_entropy_bits=0.5, drift_tops=2)
    found = badge(trace, checks=checks, dtype="bfloat16")
    assert found["level"] == "stated"
    assert (
        "more than 0.012 in all and its entropy by 0.5 bits; the likeliest token differs at 2 of 5 layers."
        in " ".join(found["sentences"])
    )


def test_half_precision_that_was_not_compared_says_so(trace):
    found = badge(trace, dtype="float16")
    assert found["level"] == "stated"
    assert "What float16 changes against float32 was not measured." in found["sentences"]


@pytest.mark.parametrize(("share", "level"), [(0.5, "good"), (2, "stated")])
def test_an_accelerator_is_good_as_long_as_the_cpu_agrees(trace, share, level):
    checks = replace(trace.checks, device_error=share * trace.checks.identity_limit)
    found = badge(trace, checks=checks, device="cuda")
    assert found["level"] == level
    assert any(said.startswith("The same prompt on the CPU in float32 differs by") for said in found["sentences"])


def test_an_accelerator_that_was_not_compared_says_so(trace):
    found = badge(trace, device="mps")
    assert found["level"] == "stated"
    assert "Results on mps were not compared with the CPU's." in found["sentences"]


def test_another_lens_is_stated(trace):
    found = badge(trace, lens="raw")
    assert found["level"] == "stated"
    assert found["sentences"][-1] == "This is the raw lens: its last layer is not the model's output."


def test_a_check_that_an_earlier_prompt_stands_for_names_it_harmlessly(trace):
    checks = replace(trace.checks, output_from="layer n", covered_by="Another\u202e\x1b[2J")
    [checked, _] = badge(trace, checks=checks)["sentences"]
    assert r"checked on “Another\u{202e}\u{1b}[2J”" in checked


def test_without_stored_checks_nothing_is_claimed(trace):
    found = trust(None, trace.model, "logit")
    assert found["level"] == "stated"
    assert found["sentences"][0].startswith("What was checked of this trace is not stored")


def curves(trace, kl=None, top=None):
    """A trace with other curves, and a warning-free rest."""
    n, count = trace.kl_from_final_bits.shape
    kl = np.zeros((n, count), dtype=np.float32) if kl is None else kl
    ids = np.arange(count)[None].repeat(n, 0) if top is None else top
    texts = {int(i): f" t{i}" for i in np.unique(ids)}
    return replace(trace, kl_from_final_bits=kl, top_ids=ids[..., None], texts=texts)


def test_layers_that_agree_with_the_output_are_warned_of_nowhere(trace):
    assert warnings(curves(trace)) == []


def test_layers_that_know_less_than_nothing_are_named(trace):
    """log₂ of this vocabulary is 9.05 bits."""
    kl = np.zeros(trace.kl_from_final_bits.shape, dtype=np.float32)
    kl[[0, 1, 3]] = 9.1
    kl[2] = 9.0
    kl[4, 0] = 20  # one position among many
    [said] = warnings(curves(trace, kl))
    assert said.startswith(
        "What the logit lens shows at layers 0 to 1 and 3 is no early form of the prediction: there,"
    )
    assert "at most positions, it is further from the output than no knowledge at all" in said
    assert "9.0 bits" in said


def test_scattered_layers_are_counted(tiny):
    trace = tiny.trace(PROMPT)
    kl = np.zeros((12, 1), dtype=np.float32)
    kl[[0, 2, 4, 5, 9]] = 10
    [said] = warnings(replace(trace, kl_from_final_bits=kl, top_ids=np.full((12, 1, 1), 7), texts={7: "x"}))
    assert said.startswith("What the logit lens shows at 5 of the layers from 0 to 9 is no early form")


def test_reading_back_the_token_that_was_put_in_is_said(trace):
    kl = np.zeros(trace.kl_from_final_bits.shape, dtype=np.float32)
    kl[:2] = 12
    top = np.arange(100, 100 + len(trace.tokens))[None].repeat(5, 0)
    top[0] = [token.id for token in trace.tokens]
    [said] = warnings(curves(trace, kl, top))
    assert "; at layer 0 it reads back the token that was put in" in said


def test_one_token_that_leads_everywhere_is_named(trace):
    count = len(trace.tokens)
    assert count >= 8
    top = np.arange(count)[None].repeat(5, 0)
    top[1:3] = 77
    top[1, : count // 3] = 5
    [said] = warnings(curves(trace, top=top))
    assert said.startswith("At layers 1 to 2 the same token, “␣t77”, leads at most positions")


def test_a_token_that_the_output_says_everywhere_too_is_no_fault_of_the_layer(trace):
    assert warnings(curves(trace, top=np.full((5, len(trace.tokens)), 7))) == []


def test_what_a_fitted_lens_does_not_show_stands_beside_its_numbers(trace):
    beside = [said for said in warnings(replace(trace, lens="jacobian:mine")) if "not those of the next token" in said]
    assert [said.startswith("The jacobian:mine lens") for said in beside] == [True]
    assert not any("next token" in said for said in warnings(trace))
