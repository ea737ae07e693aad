"""Laws of traces: what else is asked for, in which order, and in what company must not matter."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from layerwise import Request, Trace
from layerwise.tracing.layer_measures import MEASURES as EVERY_MEASURE

WORDS = ["The", "capital", "of", "Germany", "is", "Paris", "in", "a", "city", "and", "Rome", "2", "+"]
prompts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
answers = st.sampled_from([(), (" Berlin",), (" the city of Paris",), (" Rome", " the city"), (" 4",)])

MEASURES = (*EVERY_MEASURE, "top_logprobs")
ANSWER_MEASURES = ("prob", "margin", "logprob", "first_token_prob")

# A batch, or a longer sequence, may sum matrix products in another order. Measured on the four families:
# nothing differs from four tokens on; the states of shorter prompts do, by up to 2e-6 of themselves.
ROUNDING: dict[str, Any] = {"rtol": 1e-4, "atol": 5e-4}


def assert_close(one: Trace, other: Trace, places=slice(None), other_places=slice(None)) -> None:
    """Check every measure that both traces hold at these places, to rounding."""
    k = min(one.top_ids.shape[-1], other.top_ids.shape[-1])
    for name in MEASURES:
        a, b = getattr(one, name)[:, places], getattr(other, name)[:, other_places]
        if name == "top_logprobs":
            a, b = a[..., :k], b[..., :k]
        np.testing.assert_allclose(a, b, err_msg=name, **ROUNDING)
    if one.answer and other.answer:
        for name in ANSWER_MEASURES:
            a, b = getattr(one.answer, name), getattr(other.answer, name)
            np.testing.assert_allclose(a, b, err_msg=f"answer.{name}", **ROUNDING)


def assert_same(one: object, other: object) -> None:
    """Check equality bit for bit, dtypes included, without the equality that traces define."""
    assert type(one) is type(other)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
        assert one.shape == other.shape
    elif dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            assert_same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple | list) and isinstance(other, tuple | list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


@settings(max_examples=8)
@given(st.lists(st.tuples(prompts, answers), min_size=1, max_size=6))
def test_a_batch_equals_its_prompts_one_by_one(family, asked):
    requests = [Request(prompt, answers=wanted, positions="all") for prompt, wanted in asked]
    together = family.trace_all(requests)
    for request, [trace] in zip(requests, together, strict=True):
        assert_close(trace, family.trace_all([request])[0][0])


@settings(max_examples=10)
@given(st.lists(prompts, min_size=2, max_size=5, unique=True), st.randoms(use_true_random=False))
def test_the_order_of_requests_is_the_order_of_results(tiny, texts, random):
    shuffled = random.sample(texts, len(texts))
    traces = {t.prompt: t for [t] in tiny.trace_all([Request(text) for text in texts])}
    moved = tiny.trace_all([Request(text) for text in shuffled])
    assert [t.prompt for [t] in moved] == shuffled
    for [trace] in moved:
        assert_close(trace, traces[trace.prompt])


@settings(max_examples=8)
@given(prompts)
def test_the_last_layer_is_the_models_output(family, prompt):
    trace = family.trace(prompt, positions="all", top_k=3)
    ids = torch.tensor([[token.id for token in trace.tokens]])
    with torch.no_grad():
        expected = family._loaded.hf(input_ids=ids).logits[0].double().log_softmax(-1)
    np.testing.assert_allclose(trace.top_logprobs[-1], expected.topk(3).values, atol=1e-4)
    assert trace.kl_from_final_bits[-1].max() < 1e-6
    assert trace.total_variation[-1].max() < 1e-6


@settings(max_examples=10)
@given(prompts)
def test_every_position_includes_the_last(family, prompt):
    everything, last = family.trace(prompt, positions="all"), family.trace(prompt)
    assert everything.last == len(everything.tokens) - 1
    assert_close(everything, last, slice(-1, None))
    assert everything.milestones == last.milestones


@settings(max_examples=8)
@given(prompts, st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(" ".join))
def test_what_comes_later_changes_nothing_before_it(family, prompt, more):
    """Causality: a prompt's positions read the same when the text goes on."""
    short = family.trace(prompt, positions="all")
    long = family.trace(f"{prompt} {more}", positions="all")
    count = len(short.tokens)
    assert long.tokens[:count] == short.tokens
    # Divergences are to the output at the same position, so they too are the same.
    assert_close(long, short, slice(0, count))


@settings(max_examples=6)
@given(prompts, answers)
def test_more_questions_change_no_other_number(family, prompt, wanted):
    plain = family.trace(prompt, positions="all")
    assert_close(plain, family.trace(prompt, answer=wanted, positions="all"))
    tracked = family.trace(prompt, track=(" the", " Paris"), positions="all")
    assert_close(plain, tracked)
    assert plain.top_logprobs.tolist() == tracked.top_logprobs.tolist()
    [[both, _]] = family.trace_all([Request(prompt, positions="all")], lenses=("logit", "raw"))
    assert both.top_logprobs.tolist() == plain.top_logprobs.tolist()
    assert both.entropy_bits.tolist() == plain.entropy_bits.tolist()


@settings(max_examples=10)
@given(prompts, st.integers(1, 20), st.integers(1, 20))
def test_a_longer_list_of_top_tokens_extends_the_shorter(family, prompt, k, more):
    short, long = family.trace(prompt, top_k=k), family.trace(prompt, top_k=k + more)
    assert long.top_ids[..., :k].tolist() == short.top_ids.tolist()
    assert long.top_logprobs[..., :k].tolist() == short.top_logprobs.tolist()
    assert long.output[:k] == short.output


@settings(max_examples=10)
@given(prompts)
def test_tracking_the_answer_gives_the_answers_numbers(tiny, prompt):
    trace = tiny.trace(prompt, answer=" Paris", track=" Paris")
    assert trace.tracked[0].rank[:, 0].tolist() == trace.answer.rank.tolist()
    np.testing.assert_allclose(np.exp(trace.tracked[0].logprob[:, 0]), trace.answer.prob, rtol=1e-6)
    np.testing.assert_allclose(trace.tracked[0].logprob[:, 0], trace.answer.logprob, rtol=1e-6)


@settings(max_examples=8)
@given(prompts, st.integers(1, 5))
def test_generated_positions_equal_a_trace_of_the_longer_prompt(family, prompt, count):
    going = family.trace(prompt, generate=count)
    loaded = family._loaded
    ids = [t.id for t in going.tokens + going.generated[:-1]]
    with torch.no_grad():
        own = loaded.hf(input_ids=torch.tensor([ids])).logits[0, len(going.tokens) - 1 :].argmax(-1)
    assert own.tolist() == [t.id for t in going.generated]
    assert going.top_ids[-1, :, 0].tolist() == own.tolist()


@settings(max_examples=12)
@given(
    prompts,
    answers,
    st.sampled_from(["last", "all", "0"]),
    st.integers(1, 8),
    st.integers(0, 2),
    st.sampled_from([(), (0.5, 2.0)]),
    st.sampled_from(["logit", "raw"]),
)
def test_a_stored_trace_reads_back_bit_for_bit(
    family, tmp_path_factory, prompt, wanted, positions, k, more, temperatures, lens
):
    trace = family.trace(
        prompt,
        wanted,
        alternatives=" France" if wanted else (),
        track=" the",
        positions=positions,
        top_k=k,
        generate=more,
        temperatures=temperatures,
        lens=lens,
    )
    path = tmp_path_factory.mktemp("stored") / "trace.json"
    trace.save(path)
    opened = Trace.open(path)
    assert_same(opened, trace)
    assert opened == trace
    assert opened.milestones == trace.milestones


@pytest.fixture(scope="module")
def small_trace(tiny):
    return tiny.trace("The capital of Germany is", answer=" Berlin", track=" the")


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=5, max_size=5))
def test_any_float32_reads_back_bit_for_bit(small_trace, tmp_path_factory, values):
    column = np.array(values, dtype=np.float32)
    odd = dataclasses.replace(
        small_trace,
        kl_from_final_bits=np.abs(column)[:, None],
        residual_norm=np.abs(column)[::-1, None].copy(),
        answer=dataclasses.replace(small_trace.answer, logprob=-np.abs(column), margin=-column),
    )
    path = tmp_path_factory.mktemp("stored") / "trace.json"
    odd.save(path)
    assert_same(Trace.open(path), odd)


@given(st.text(max_size=30))
def test_any_prompt_text_reads_back(small_trace, tmp_path_factory, text):
    path = tmp_path_factory.mktemp("stored") / "trace.json"
    odd = dataclasses.replace(small_trace, prompt=text.encode("utf-8", "replace").decode())
    odd.save(path)
    assert Trace.open(path).prompt == odd.prompt
