import re
from dataclasses import replace

import pytest

from layerwise.tracing.check_sentences import check_line, check_sentences

WHOLE = {"device_error": 0.00034, "drift_variation": 0.0123, "drift_entropy_bits": 0.56, "drift_tops": 3}
"""What is compared in half precision on an accelerator, beside the identity check."""


@pytest.fixture(scope="module")
def trace(fresh):
    """The first of its model, whose own forward ran on this very prompt."""
    return fresh().trace("The capital of Germany is")


def with_checks(trace, *, dtype="float32", device="cpu", lens="logit", **checks):
    model = replace(trace.model, dtype=dtype, device=device)
    return replace(trace, model=model, lens=lens, checks=replace(trace.checks, identity_error=6.9e-6, **checks))


def sentences(trace):
    return check_sentences(trace.checks, trace.model, trace.lens)


def test_one_line_says_what_was_checked_and_where_the_weights_ran(trace):
    assert check_line(with_checks(trace)) == (
        "checked on this prompt: logit lens at the last layer = the model's own output to 6.9e-06 in log-probability "
        "(limit 1.0e-03); float32 on cpu"
    )


def test_one_line_goes_on_with_all_else_that_was_compared(trace):
    line = check_line(with_checks(trace, dtype="bfloat16", device="cuda", lens="raw", **WHOLE))
    assert line.endswith(
        "; bfloat16 on cuda; against the CPU 3.4e-04. Against float32 on the first prompt, no layer's probabilities "
        "are off by more than 0.012 in all, its entropy by 0.56 bits, and the likeliest token differs at 3 of 5 "
        "layers. The raw lens's last layer is not the output"
    )


def test_one_line_says_that_an_earlier_prompt_was_checked_and_a_sentence_which(trace):
    earlier = with_checks(trace, output_from="layer n", covered_by="One, two")
    assert check_line(earlier).startswith("checked on an earlier prompt: ")
    assert "checked on “One, two” (limit" in sentences(earlier)[0]


@pytest.mark.parametrize("checks", [{}, WHOLE])
def test_sentences_and_line_give_the_same_figures(trace, checks):
    told = with_checks(trace, dtype="float16", device="mps", **checks)
    figures = re.findall(r"\d[\d.e-]*\d|\d", check_line(told).replace("float16", "").replace("float32", ""))
    said = " ".join(sentences(told)).replace("float16", "").replace("float32", "")
    assert re.findall(r"\d[\d.e-]*\d|\d", said) == figures


def test_sentences_say_what_was_not_compared_too(trace):
    assert sentences(with_checks(trace, dtype="float16", device="mps"))[2:] == [
        "Results on mps were not compared with the CPU's.",
        "What float16 changes against float32 was not measured.",
    ]


def test_what_is_not_stored_is_not_claimed(trace):
    assert check_sentences(None, trace.model, "raw") == [
        "What was checked of this trace is not stored with it. Weights ran in float32 on cpu.",
        "This is the raw lens: its last layer is not the model's output.",
    ]
