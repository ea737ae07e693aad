"""What these two models say, layer by layer: numbers found with transformers alone, to 0.01."""

import pytest

GERMANY = "Question: What is the capital of Germany? Answer:"

GEMMA = [
    (GERMANY, 13, {" Germany": 0.655}),
    (GERMANY, 16, {" Germany": 0.466, " Berlin": 0.135}),
    (GERMANY, 17, {" Berlin": 0.461}),
    (GERMANY, 18, {" Berlin": 0.165, " ": 0.112, " The": 0.111, " Germany": 0.068}),
    ("The Eiffel Tower is in the city of", 14, {" Paris": 0.338}),
    ("The Eiffel Tower is in the city of", 17, {" Paris": 0.930}),
    ("The Eiffel Tower is in the city of", 18, {" Paris": 0.498}),
    ("Berlin is the capital of", 13, {" Germany": 0.717}),
    ("Berlin is the capital of", 16, {" Germany": 0.931}),
    ("Berlin is the capital of", 18, {" Germany": 0.516}),
    ("2 + 2 =", 14, {"3": 0.631, "4": 0.233}),
    ("2 + 2 =", 18, {" ": 0.945}),
]

SMOLLM = [
    ("The capital of Germany is", 18, {" ": 0.842}),
    ("The capital of Germany is", 29, {" capital": 0.163}),
    ("The capital of Germany is", 30, {" Berlin": 0.796}),
    (GERMANY, 30, {"\n": 0.419, " Germany": 0.095}),
]


def assert_says(model, prompt, layer, expected):
    """The first of these is the likeliest token, and all have these probabilities."""
    top = model.trace(prompt, top_k=10).top(layer)
    assert top[0].text == next(iter(expected))
    found = {token.text: token.prob for token in top}
    assert [found[text] for text in expected] == pytest.approx(list(expected.values()), abs=0.01)


@pytest.mark.parametrize(("prompt", "layer", "expected"), GEMMA)
def test_gemma_3_270m(gemma, prompt, layer, expected):
    assert_says(gemma, prompt, layer, expected)


@pytest.mark.parametrize(("prompt", "layer", "expected"), SMOLLM)
def test_smollm2_135m(smollm, prompt, layer, expected):
    assert_says(smollm, prompt, layer, expected)


def test_germany_comes_before_berlin_and_the_output_is_less_sure(gemma):
    trace = gemma.trace(GERMANY, answer=" Berlin", alternatives=(" Paris", " Rome"))
    assert trace.n_layers == 18
    assert trace.answer.prob[17] > 0.4 > trace.answer.prob[18]
    assert trace.milestones.settled_top1 == 17
    assert trace.top(16)[0].text == " Germany"
    assert trace.answer.rank[16] == 3, "after Germany and Frankfurt"


def test_models_are_what_they_are_said_to_be(gemma, smollm):
    a, b = gemma.info, smollm.info
    assert (a.architecture, a.n_layers, a.d_model, a.n_heads, a.n_kv_heads, a.vocab_size) == (
        "Gemma3ForCausalLM", 18, 640, 4, 1, 262144,
    )  # fmt: skip
    assert (b.architecture, b.n_layers, b.d_model, b.n_heads, b.n_kv_heads, b.vocab_size) == (
        "LlamaForCausalLM", 30, 576, 9, 3, 49152,
    )  # fmt: skip
    assert a.weights_sum == "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
    assert b.weights_sum == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert (a.source, b.source) == ("bundled", "bundled")


def test_identity_check_is_far_inside_its_limit(bundled_model):
    checks = bundled_model.trace(GERMANY).checks
    assert checks.identity_error <= 1e-4 < checks.identity_limit
    assert checks.states_error <= 1e-5
