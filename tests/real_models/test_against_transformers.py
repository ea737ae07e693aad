"""Every number of a trace against transformers' own states and textbook formulas in float64.

On the four families (random weights that exercise soft-caps, sliding windows, rope scaling and
gains far from 1) and on both bundled models. The oracle uses nothing of layerwise.
"""

import math

import pytest
import torch

from layerwise import Request
from layerwise.capture.forward_pass import ForwardPass
from tests.sweeps import states_of

QUESTION = "Question: What is the capital of Germany? Answer:"
POSITIONS = (0, 1, 5, 8)
"""The first (BOS, where there is one: Gemma's logits reach 1,500 there), two in between, the last of the shortest."""


@pytest.fixture(scope="module")
def case(every_model, oracle):
    """A trace, transformers' states and output, and the float64 lens, all at the same positions."""
    truth = oracle(every_model)
    ids = truth.encode(QUESTION)
    states, logits = truth.run(ids)
    positions = sorted({*POSITIONS, len(ids) - 1})
    wanted = ",".join(map(str, positions))
    trace = every_model.trace(QUESTION, answer=" Berlin", track=" the", positions=wanted, top_k=7)
    assert trace.positions == tuple(positions)
    return trace, ids, states[:, positions], logits[positions], truth.lens(states[:, positions])


def close(got, expected, z) -> bool:
    """Whether float32 numbers are right to rounding: 1e-4, and 1e-6 of how far the row's logits spread.

    Measured on all six models and three prompts at all positions: errors stay under 9e-5 where
    logits spread over 300, and reach 5.5e-4 where they spread over 1,600 (Gemma 3 after BOS).
    """
    spread = z.amax(-1) - z.amin(-1)
    error = (torch.as_tensor(got).double() - expected).abs()
    return bool((error <= 1e-4 + 1e-6 * spread.reshape(spread.shape + (1,) * (error.dim() - 2))).all())


def ranks_allowed(z, token: int):
    """Return a token's best and worst rank at every row, up to logits closer to its own than rounding tells apart."""
    target = z[..., token]
    slack = 1e-5 + 1e-6 * (z.amax(-1) - z.amin(-1))
    best = 1 + (z > (target + slack)[..., None]).sum(-1)
    worst = (z >= (target - slack)[..., None]).sum(-1)
    return best, worst


def test_prompt_tokens_are_what_the_tokenizer_makes_by_itself(case):
    trace, ids, *_ = case
    assert [token.id for token in trace.tokens] == ids


def test_every_state_is_transformers_own_bit_for_bit(every_model, case):
    _, ids, states, *_ = case
    positions = sorted({*POSITIONS, len(ids) - 1})
    captured = states_of(every_model._loaded, [ForwardPass(tuple(ids), tuple(positions))])
    assert torch.equal(captured.movedim(1, 0), states)


def test_the_oracle_itself_reproduces_the_models_output(case):
    *_, logits, z = case
    assert close(z[-1:].log_softmax(-1), logits[None].log_softmax(-1), z[-1:, :, :])


def test_last_layer_is_the_models_own_output(case):
    trace, _, _, logits, _ = case
    expected = logits.log_softmax(-1)
    for place in range(len(trace.positions)):
        ids = torch.tensor(trace.top_ids[-1, place])
        assert ids[0] == logits[place].argmax()
        assert torch.allclose(torch.tensor(trace.top_logprobs[-1, place]).double(), expected[place, ids], atol=5e-5)
    assert [t.id for t in trace.output] == expected[-1].topk(7).indices.tolist()
    assert trace.kl_to_final_bits[-1].max() < 1e-6
    assert trace.kl_from_final_bits[-1].max() < 1e-6
    assert trace.total_variation[-1].max() < 1e-6
    assert trace.cosine_to_final[-1] == pytest.approx(1, abs=1e-6)


def test_top_tokens_and_their_log_probabilities(case):
    trace, *_, z = case
    expected = z.log_softmax(-1)
    assert close(trace.top_logprobs, expected.topk(7).values, z), "not the k largest"
    assert close(trace.top_logprobs, expected.gather(-1, torch.tensor(trace.top_ids)), z), "not these ids'"
    # Where float64 sees a clear gap on both sides, the very token must agree, not only its value.
    best = z.topk(2)
    clear = best.values[..., 0] - best.values[..., 1] > 1e-2
    assert clear.float().mean() > 0.8
    assert torch.equal(torch.tensor(trace.top_ids)[..., 0][clear], best.indices[..., 0][clear])


def test_entropy(case):
    trace, *_, z = case
    p = z.log_softmax(-1)
    assert close(trace.entropy_bits, -(p.exp() * p).sum(-1) / math.log(2), z)


def test_divergences_in_both_directions(case):
    trace, *_, z = case
    p, q = z.log_softmax(-1), z[-1:].log_softmax(-1)
    assert close(trace.kl_to_final_bits, (p.exp() * (p - q)).sum(-1) / math.log(2), z)
    assert close(trace.kl_from_final_bits, (q.exp() * (q - p)).sum(-1) / math.log(2), z)


def test_the_logit_lens_is_not_apart_from_itself(case):
    trace, *_ = case
    assert not trace.kl_from_logit_lens_bits.any()


def test_total_variation(case):
    trace, *_, z = case
    p, q = z.softmax(-1), z[-1:].softmax(-1)
    assert close(trace.total_variation, (p - q).abs().sum(-1) / 2, z)


def test_echo_mass_is_the_probability_of_distinct_earlier_tokens_without_special_ones(every_model, case):
    trace, ids, _, _, z = case
    special = set(every_model._loaded.tokenizer.hf.all_special_ids)
    for place, position in enumerate(trace.positions):
        so_far = sorted(set(ids[: position + 1]) - special)
        expected = z[:, place].softmax(-1)[:, so_far].sum(-1)
        assert torch.tensor(trace.echo_mass[:, place]).double().allclose(expected, atol=5e-5)


def test_tracked_token(case):
    trace, *_, z = case
    [tracked] = trace.tracked
    assert close(tracked.logprob, z.log_softmax(-1)[..., tracked.token.id], z)
    best, worst = ranks_allowed(z, tracked.token.id)
    rank = torch.tensor(tracked.rank)
    assert bool(((best <= rank) & (rank <= worst)).all())
    assert bool((worst - best <= 1 + best / 100).float().mean() > 0.9), "the slack leaves nothing to test"


def test_residual_norm_and_cosine(case):
    trace, _, states, *_ = case
    h = states.double()
    assert torch.tensor(trace.residual_norm).double().allclose(h.norm(dim=-1), rtol=1e-5)
    cosine = torch.cosine_similarity(h, h[-1:], dim=-1)
    assert torch.tensor(trace.cosine_to_final).double().allclose(cosine, atol=1e-5)


def test_answer_numbers_at_the_deciding_token(case):
    trace, _, _, _, z = case
    answer, last = trace.answer, z[:, -1]
    assert answer.answers[0].deciding_index == 0
    token = answer.answers[0].ids[0]
    p = last.log_softmax(-1)
    assert torch.tensor(answer.prob).double().allclose(p[:, token].exp(), atol=5e-5)
    others = last.clone()
    others[:, token] = -math.inf
    assert close(answer.margin[:, None], (last[:, token] - others.amax(-1))[:, None], z[:, -1:])
    # The exact rank is float32's own: which of two logits closer than its rounding is larger, processors decide.
    best, worst = ranks_allowed(last, token)
    rank = torch.tensor(answer.rank)
    assert bool(((best <= rank) & (rank <= worst)).all())


def test_raw_lens_reads_states_without_the_norm_against_the_true_output(every_model, oracle, case):
    _, _, states, *_ = case
    [[raw, _]] = every_model.trace_all([Request(QUESTION, top_k=7)], lenses=["raw", "logit"])
    assert raw.lens == "raw"
    z = oracle(every_model).lens(states[:, -1:], norm=False)
    output = oracle(every_model).lens(states[-1:, -1:])
    p, q = z.log_softmax(-1), output.log_softmax(-1)
    assert close(raw.top_logprobs, p.topk(7).values, z)
    assert close(raw.entropy_bits, -(p.exp() * p).sum(-1) / math.log(2), z)
    assert close(raw.kl_from_final_bits, (q.exp() * (q - p)).sum(-1) / math.log(2), z)
    assert close(raw.kl_to_final_bits, (p.exp() * (p - q)).sum(-1) / math.log(2), z)
    with_norm = oracle(every_model).lens(states[:, -1:]).log_softmax(-1)
    apart = (with_norm.exp() * (with_norm - p)).sum(-1) / math.log(2)
    assert close(raw.kl_from_logit_lens_bits, apart, z)
    assert raw.kl_from_final_bits[-1, 0] > 0.1, "without its norm the last layer is not the output"
